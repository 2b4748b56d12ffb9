"""Long recordings in overlapping windows: how clips are cut, and their features put together."""

from itertools import pairwise
from typing import Any, Dict, List, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

STEP_SECONDS = 0.16  # a row of patches: 16 frames of 10 ms


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


class Merger(Protocol):
    """What becomes of the windows of one clip, which come in the order of time."""

    def add(self, window: Window, tokens: Tensor) -> None:
        """Take the tokens of a window, (..., N, D), those of its padding included."""

    def result(self) -> Any:
        """What the clip gives, once all its windows are there."""


def keep_rows(window: Window, tokens: Tensor, layout: TokenLayout) -> Tensor:
    """The tokens of the rows that a window keeps: (..., N, D), without summary and padding."""
    num_summary, per_row = layout
    first = num_summary + per_row * (window.keep_start - window.start)
    return tokens[..., first : first + per_row * (window.keep_stop - window.keep_start), :]


class TokenMerger:
    """Puts the tokens of a clip's windows together, (..., N, D); (..., D) if all are summary.

    The tokens of a row are those of the window that keeps it; those beyond a window's rows
    (padding) are ignored. Summary tokens are averaged over the windows, each weighted by the
    duration that it keeps.
    """

    def __init__(self, layout: TokenLayout) -> None:
        self._layout = layout
        self._summaries: Dict[Window, Tensor] = {}
        self._rows: List[Tensor] = []

    def add(self, window: Window, tokens: Tensor) -> None:
        """Take the tokens of a window; copied, so that its batch does not stay in memory."""
        self._summaries[window] = tokens[..., : self._layout.num_summary, :].clone()
        self._rows.append(keep_rows(window, tokens, self._layout).clone())

    def result(self) -> Tensor:
        """The tokens of the clip."""
        num_rows, summary = max(window.stop for window in self._summaries), 0
        for window, tokens in self._summaries.items():
            summary = summary + (window.keep_stop - window.keep_start) / num_rows * tokens
        if not self._layout.tokens_per_row:
            return summary.squeeze(-2)
        return torch.cat([summary, *self._rows], dim=-2)
