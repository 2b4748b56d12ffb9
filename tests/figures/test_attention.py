"""The figure of attention shows the shares that it was given, where they belong."""

import numpy as np
import pytest

from eat.figures.attention import draw_attention


@pytest.fixture
def log_mel():
    return np.random.default_rng(0).normal(size=(64, 128)).astype(np.float32)


@pytest.fixture
def attention():
    weights = np.random.default_rng(1).random((5, 1 + 4 * 8))
    return weights / weights.sum(axis=1, keepdims=True)


def by_title(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_every_head_and_their_mean_in_per_cent_on_one_scale(log_mel, attention):
    panels = by_title(draw_attention(log_mel, attention, title="dog.flac, block 2"))
    mean = next(title for title in panels if title.startswith("Mean over heads"))
    assert f"CLS gives {100 * attention[:, 0].mean():.1f} % to itself" in mean
    maps = 100 * attention[:, 1:].reshape(5, 4, 8)
    np.testing.assert_array_equal(panels["dog.flac, block 2"].images[0].get_array(), log_mel.T)
    np.testing.assert_allclose(panels[mean].images[0].get_array(), maps.mean(axis=0).T)
    limits = {panels[mean].images[0].get_clim()}
    for head in range(5):
        image = panels[f"head {head + 1}"].images[0]
        np.testing.assert_allclose(image.get_array(), maps[head].T)
        limits.add(image.get_clim())
    assert limits == {(0, np.percentile(maps, 99.5))}


def test_time_is_that_of_the_clip(log_mel, attention):
    panels = by_title(draw_attention(log_mel, attention))
    assert panels["head 1"].get_xlim() == (0, 0.64) == panels["CLS attention"].get_xlim()


def test_attention_of_another_clip_is_refused(log_mel, attention):
    with pytest.raises(ValueError, match=r"attention: found shape \(5, 30\), expected \(heads, 33"):
        draw_attention(log_mel, attention[:, :30])
