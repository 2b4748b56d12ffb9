import pytest
import torch

from eat.features.merging import ClipTokens, TokenLayout
from eat.features.windows import split_into_windows

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
    clip = ClipTokens(WINDOWS, layout)
    for index in order:
        assert not clip.is_complete
        tokens = tokens_of_rows(WINDOWS[index], layout, index + 1)
        clip.add(WINDOWS[index], torch.cat([tokens, torch.full((7, 1), 99.0)]))  # padding
    assert clip.is_complete
    rows = torch.arange(10) + torch.tensor([0.01] * 5 + [0.02] * 5)
    expected = torch.cat([torch.full((num_summary,), 1.5), rows.repeat_interleave(per_row)])
    assert torch.allclose(clip.result().squeeze(1), expected)


def test_summaries_are_weighted_by_duration():
    windows = split_into_windows(9, 6, 0)  # rows 0-6 and 3-9, seam at 4
    assert [window.keep_stop for window in windows] == [4, 9]
    clip = ClipTokens(windows, TokenLayout(1, 0))
    clip.add(windows[0], torch.tensor([[1.0, 0.0]]))
    clip.add(windows[1], torch.tensor([[0.0, 1.0]]))
    assert torch.allclose(clip.result(), torch.tensor([4 / 9, 5 / 9]))


def test_leading_dimensions_are_kept():
    layout = TokenLayout(1, 1)
    clip = ClipTokens(WINDOWS, layout)
    layers = torch.tensor([1.0, 2.0]).view(2, 1, 1)
    for window in WINDOWS:
        clip.add(window, tokens_of_rows(window, layout, 0) * layers)
    assert clip.result().shape == (2, 11, 1)
    assert torch.equal(clip.result()[1], 2 * clip.result()[0])
