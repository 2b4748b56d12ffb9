"""The figure of lengths: every clip counts once, the longest of them too."""

import numpy as np
import pytest

from eat.figures.lengths import draw_lengths


def shares(figure):
    return {step.get_label(): step.get_data() for step in figure.axes[0].patches}


def test_each_split_adds_up_and_the_cut_is_marked():
    seconds = {"train": np.array([0.52] * 30 + [2.0] * 10), "valid": np.array([1.0]), "eval": []}
    figure = draw_lengths(seconds, target_seconds=1.28)
    found = shares(figure)
    assert list(found) == ["train", "valid"]
    values, edges, _ = found["train"]
    assert values.sum() == pytest.approx(100)
    assert values[np.searchsorted(edges, 0.52) - 1] == pytest.approx(75)
    assert figure.axes[0].get_lines()[0].get_xdata()[0] == 1.28


def test_one_very_long_recording_is_in_the_last_bar():
    seconds = np.append(np.full(999, 1.0), 3600.0)
    values, edges, _ = shares(draw_lengths({"train": seconds}))["train"]
    assert edges[-1] < 60 and values.sum() == pytest.approx(100)


def test_no_clip_is_refused():
    with pytest.raises(ValueError, match="seconds: found no clip"):
        draw_lengths({"train": np.array([])})
