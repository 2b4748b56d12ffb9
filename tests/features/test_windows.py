from itertools import pairwise

import numpy as np
import pytest
import torch

from eat.features import windows as module
from eat.features.windows import TokenLayout, Window, frame_times, split_into_windows, trim


@pytest.mark.parametrize(
    "settings, windows",
    [
        *(((n, 64, 8), [(0, n, 0, n)]) for n in (1, 63, 64)),  # it stays whole
        # The last one is as long as the others.
        ((100, 64, 8), [(0, 64, 0, 50), (36, 100, 50, 100)]),
        ((65, 64, 8), [(0, 64, 0, 32), (1, 65, 32, 65)]),
        ((12, 4, 0), [(0, 4, 0, 4), (4, 8, 4, 8), (8, 12, 8, 12)]),
    ],
)
def test_windows_of_a_clip(settings, windows):
    assert split_into_windows(*settings) == [Window(*window) for window in windows]


@pytest.mark.parametrize("num_rows", [65, 120, 121, 1000, 22_500])
@pytest.mark.parametrize("window_rows, overlap_rows", [(64, 0), (64, 8), (64, 63), (1, 0)])
def test_every_row_is_kept_once_and_has_its_context(num_rows, window_rows, overlap_rows):
    windows = split_into_windows(num_rows, window_rows, overlap_rows)
    assert all(window.num_rows == window_rows for window in windows)
    assert windows[0].keep_start == windows[0].start == 0
    assert windows[-1].keep_stop == windows[-1].stop == num_rows
    for window, following in pairwise(windows):
        assert window.keep_stop == following.keep_start
        assert window.start < following.start
        assert window.stop - following.start >= overlap_rows
        assert window.stop - window.keep_stop >= overlap_rows // 2
        assert following.keep_start - following.start >= overlap_rows // 2


def test_times_are_the_centres_of_the_steps():
    assert np.allclose(frame_times(3), [0.08, 0.24, 0.40])
    assert len(frame_times(0)) == 0


def merge_windows(tokens, layout):
    trimmed = {window: trim(window, content, layout) for window, content in tokens.items()}
    return module.merge_windows(trimmed, layout)


WINDOWS = split_into_windows(10, 6, 2)  # rows 0-6 and 4-10, seam at 5


def tokens_of_rows(window, layout, summary):
    """(N, 1): the summary, then the number of its row for each token."""
    rows = torch.arange(window.start, window.stop).repeat_interleave(layout.tokens_per_row)
    head = torch.full((layout.num_summary,), float(summary))
    return torch.cat([head, rows + summary / 100]).unsqueeze(1)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("per_row", [1, 3])
@pytest.mark.parametrize("num_summary", [0, 1])
def test_rows_come_from_the_nearer_window(order, per_row, num_summary):
    layout = TokenLayout(num_summary, per_row)
    padding = torch.full((7, 1), 99.0)
    tokens = {
        WINDOWS[index]: torch.cat([tokens_of_rows(WINDOWS[index], layout, index + 1), padding])
        for index in order
    }
    rows = torch.arange(10) + torch.tensor([0.01] * 5 + [0.02] * 5)
    expected = torch.cat([torch.full((num_summary,), 1.5), rows.repeat_interleave(per_row)])
    assert torch.allclose(merge_windows(tokens, layout).squeeze(1), expected)


def test_summaries_are_weighted_by_duration():
    windows = split_into_windows(9, 6, 0)  # rows 0-6 and 3-9, seam at 4
    assert [window.keep_stop for window in windows] == [4, 9]
    tokens = {windows[0]: torch.tensor([[1.0, 0.0]]), windows[1]: torch.tensor([[0.0, 1.0]])}
    assert torch.allclose(merge_windows(tokens, TokenLayout(1, 0)), torch.tensor([4 / 9, 5 / 9]))


def test_leading_dimensions_are_kept():
    layout = TokenLayout(1, 1)
    layers = torch.tensor([1.0, 2.0]).view(2, 1, 1)
    merged = merge_windows({w: tokens_of_rows(w, layout, 0) * layers for w in WINDOWS}, layout)
    assert merged.shape == (2, 11, 1)
    assert torch.equal(merged[1], 2 * merged[0])
