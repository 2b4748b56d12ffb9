"""Long recordings in overlapping windows: how clips are cut, and their features put together."""

from itertools import pairwise
from typing import List, Mapping, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eat.audio import LogMel


class Window(NamedTuple):
    """A part of a clip that goes through the network at once, in rows of patches."""

    start: int
    stop: int
    keep_start: int  # the rows within it whose features are taken from this window
    keep_stop: int

    @property
    def num_rows(self) -> int:
        """H, rows that the network sees."""
        return self.stop - self.start


def split_into_windows(num_rows: int, window_rows: int, overlap_rows: int) -> List[Window]:
    """Cover a clip with windows of equal length; a clip up to that length stays whole.

    Neighbours share at least `overlap_rows` rows, fewer than `window_rows`, and meet in the middle
    of what they share: every row is taken from the window that sees more of its surroundings, and
    features of different windows are never mixed. The last window is moved back to end with the
    clip, so that it is as long as the others.
    """
    last_start = num_rows - window_rows
    if last_start <= 0:
        return [Window(0, num_rows, 0, num_rows)]
    starts = [*range(0, last_start, window_rows - overlap_rows), last_start]
    seams = [(start + window_rows + following) // 2 for start, following in pairwise(starts)]
    kept = pairwise([0, *seams, num_rows])
    return [Window(s, s + window_rows, *rows) for s, rows in zip(starts, kept, strict=True)]


def frame_times(num_rows: int, step_seconds: float = LogMel().step_seconds) -> np.ndarray:
    """When the steps of `granularity="time"` are: the centres of the 160 ms they cover.

    (num_rows,) float64, in seconds from the start of the clip. `step_seconds` is
    `encoder.log_mel.step_seconds`, if that is not 0.16.
    """
    return (np.arange(num_rows) + 0.5) * step_seconds


class TokenLayout(NamedTuple):
    """What the tokens of a window are."""

    num_summary: int  # tokens at the start that stand for the whole window: 1 (CLS) or 0
    tokens_per_row: int  # tokens of each row of patches after them, in time order


def trim(window: Window, tokens: Tensor, layout: TokenLayout) -> Tensor:
    """What a clip needs of a window's tokens (..., N, D): summary and kept rows; a copy."""
    num_summary, per_row = layout
    first = num_summary + per_row * (window.keep_start - window.start)
    rows = tokens[..., first : first + per_row * (window.keep_stop - window.keep_start), :]
    return torch.cat([tokens[..., :num_summary, :], rows], dim=-2)


def merge_windows(tokens: Mapping[Window, Tensor], layout: TokenLayout) -> Tensor:
    """Put trimmed tokens of a clip's windows together, (..., N, D); (..., D) if all are summary.

    The tokens of a row are those of the window that keeps it; those beyond a window's rows
    (padding) are ignored. Summary tokens are averaged over the windows, each weighted by the
    duration that it keeps.
    """
    num_summary, per_row = layout
    windows = sorted(tokens)
    summary, parts = 0, []
    for window in windows:
        share = (window.keep_stop - window.keep_start) / windows[-1].stop
        summary = summary + share * tokens[window][..., :num_summary, :]
        parts.append(tokens[window][..., num_summary:, :])
    return torch.cat([summary, *parts], dim=-2) if per_row else summary.squeeze(-2)
