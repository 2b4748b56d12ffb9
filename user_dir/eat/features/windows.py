"""Long recordings in overlapping windows, cut on the network's grid of patches."""

from itertools import pairwise
from typing import List, NamedTuple

import numpy as np

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
