"""Long recordings in overlapping windows: how clips are cut, and their features put together."""

from itertools import pairwise
from typing import List, Mapping, NamedTuple

import numpy as np
import torch
from torch import Tensor

STEP_SECONDS = 0.16  # a row of patches: 16 frames of 10 ms


class Window(NamedTuple):
    """A part of a clip that goes through the network at once; all in rows of patches.

    Attributes:
        start, stop: the part.
        keep_start, keep_stop: the rows within it whose features are taken from this window.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def num_rows(self) -> int:
        """H, rows that the network sees."""
        return self.stop - self.start


def split_into_windows(num_rows: int, window_rows: int, overlap_rows: int) -> List[Window]:
    """Cover a clip with windows of equal length.

    Neighbours share at least `overlap_rows` rows and meet in the middle of what they share: every
    row is taken from the window that sees more of its surroundings, and features of different
    windows are never mixed. The last window is moved back to end with the clip, so that it is as
    long as the others.

    Args:
        num_rows: length of the clip.
        window_rows: length of a window; a clip up to it stays whole.
        overlap_rows: below `window_rows`.
    """
    last_start = num_rows - window_rows
    if last_start <= 0:
        return [Window(0, num_rows, 0, num_rows)]
    starts = [*range(0, last_start, window_rows - overlap_rows), last_start]
    seams = [(start + window_rows + following) // 2 for start, following in pairwise(starts)]
    kept = pairwise([0, *seams, num_rows])
    return [
        Window(start, start + window_rows, keep_start, keep_stop)
        for start, (keep_start, keep_stop) in zip(starts, kept, strict=True)
    ]


def frame_times(num_rows: int) -> np.ndarray:
    """When the steps of `granularity="time"` are: the centres of the 160 ms they cover.

    Args:
        num_rows: H, steps of a clip.

    Returns:
        (H,) float64, seconds from the start of the clip.
    """
    return (np.arange(num_rows) + 0.5) * STEP_SECONDS


class TokenLayout(NamedTuple):
    """What the tokens of a window are."""

    num_summary: int  # tokens at the start that stand for the whole window: 1 (CLS) or 0
    tokens_per_row: int  # tokens of each row of patches after them, in time order


def merge_windows(tokens: Mapping[Window, Tensor], layout: TokenLayout) -> Tensor:
    """Put the tokens of a clip's windows together.

    The tokens of a row are those of the window that keeps it. Summary tokens are averaged over the
    windows, each weighted by the duration that it keeps.

    Args:
        tokens: by window, (..., N, D); those beyond the window's rows (padding) are ignored.
        layout: what they are.

    Returns:
        (..., N, D) of the whole clip; (..., D) if there is nothing but the summary.
    """
    num_summary, per_row = layout
    windows = sorted(tokens)
    summary, parts = 0, []
    for window in windows:
        kept_rows = window.keep_stop - window.keep_start
        share = kept_rows / windows[-1].stop
        summary = summary + share * tokens[window][..., :num_summary, :]
        first = num_summary + per_row * (window.keep_start - window.start)
        parts.append(tokens[window][..., first : first + per_row * kept_rows, :])
    return torch.cat([summary, *parts], dim=-2) if per_row else summary.squeeze(-2)
