"""A clip's figure: the spectrogram, true axes, and the masks where they belong."""

import numpy as np
import pytest

from eat.figures import draw_clip, save_figure
from eat.nn.masking import MaskingConfig, inverse_block_masks

GRID = (8, 8)


@pytest.fixture
def log_mel():
    return np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32)


@pytest.fixture
def masks():
    config = MaskingConfig(num_clones=5, mask_block_size=3)
    return inverse_block_masks(config, GRID, np.random.default_rng(0))


def clone_axes(figure):
    named = [axes for axes in figure.axes if axes.get_title(loc="left").startswith("clone ")]
    return sorted(named, key=lambda axes: axes.get_title(loc="left"))


def test_the_whole_clip_is_shown_with_time_up_to_its_end(log_mel, masks):
    axes = draw_clip(log_mel, masks, title="siren-0001.wav").axes[0]
    assert axes.get_title(loc="left") == "siren-0001.wav"
    np.testing.assert_array_equal(axes.images[0].get_array(), log_mel.T)
    assert axes.get_xlim() == (0, 1.28) and axes.get_ylim() == (0, 128)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "frequency (Hz)")


def test_the_patch_grid_lies_on_the_borders_of_patches(log_mel, masks):
    lines = draw_clip(log_mel, masks).axes[0].get_lines()
    vertical = [line.get_xdata()[0] for line in lines if line.get_xdata()[0] == line.get_xdata()[1]]
    horizontal = [line.get_ydata()[0] for line in lines[len(vertical) :]]
    np.testing.assert_allclose(vertical, np.arange(1, 8) * 0.16)
    np.testing.assert_array_equal(horizontal, np.arange(1, 8) * 16)


def test_each_clone_covers_exactly_its_hidden_patches(log_mel, masks):
    clones = clone_axes(draw_clip(log_mel, masks))
    assert len(clones) == 5
    for axes, mask in zip(clones, masks, strict=True):
        spectrogram, cover = axes.images
        np.testing.assert_array_equal(spectrogram.get_array(), log_mel.T)
        covered = ~np.ma.getmaskarray(cover.get_array())  # (F / P, T / P)
        np.testing.assert_array_equal(covered, mask.reshape(GRID).T)
        assert cover.get_extent() == spectrogram.get_extent()
        opaque = cover.to_rgba(cover.get_array())[..., 3]
        np.testing.assert_array_equal(opaque, covered)


def test_long_clips_get_their_masks_in_time_order():
    mask = np.ones((1, 64 * 8), dtype=bool)
    mask[0, 63 * 8] = False  # the last patch in time, the lowest in frequency
    (axes,) = clone_axes(draw_clip(np.zeros((1024, 128), np.float32), mask))
    covered = ~np.ma.getmaskarray(axes.images[1].get_array())
    assert not covered[0, 63] and covered.sum() == 64 * 8 - 1


def test_a_file_name_is_shown_as_it_is(log_mel, masks, tmp_path):
    title = "50 $ and 60 $ \\x^.wav"
    save_figure(draw_clip(log_mel, masks, title=title), tmp_path / "clip")
    assert draw_clip(log_mel, masks, title=title).axes[0].get_title(loc="left") == title


def test_shapes_that_do_not_fit_are_named(log_mel, masks):
    with pytest.raises(ValueError, match="log_mel: found 120 frames x 128 bins, expected multip"):
        draw_clip(log_mel[:120], masks)
    with pytest.raises(ValueError, match=r"masks: found shape \(5, 60\), expected \(K, 64\)"):
        draw_clip(log_mel, masks[:, :60])
