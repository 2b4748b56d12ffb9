"""A clip's figure: the spectrogram, true axes, and the masks where they belong."""

import numpy as np
import pytest
import torch

from eat.audio import LogMel
from eat.figures import draw_clip, save_figure
from eat.figures.clip import mel_bin_of
from eat.nn.masking import MaskingConfig, inverse_block_masks

GRID = (8, 8)
PLAIN = LogMel(mean=0.0, std=0.5, target_length=None)  # leaves log-mel values as they are
SOURCE = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 128, 128)).astype(np.float32))
MASKS = inverse_block_masks(
    MaskingConfig(num_clones=5, mask_block_size=3), GRID, np.random.default_rng(0)
)


def clone_axes(figure):
    named = [axes for axes in figure.axes if axes.get_title(loc="left").startswith("clone ")]
    return sorted(named, key=lambda axes: axes.get_title(loc="left"))


def test_the_whole_clip_is_shown_with_time_up_to_its_end_below_the_grid_of_patches():
    axes = draw_clip(SOURCE, MASKS, PLAIN, title="siren-0001.wav").axes[0]
    assert axes.get_title(loc="left") == "siren-0001.wav"
    np.testing.assert_array_equal(axes.images[0].get_array(), SOURCE[0, 0].T)
    assert axes.get_xlim() == (0, 1.28) and axes.get_ylim() == (0, 128)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "frequency (Hz)")
    lines = [np.array(line.get_data()) for line in axes.get_lines()]
    vertical = [x[0] for x, _ in lines if x[0] == x[1]]
    np.testing.assert_allclose(vertical, np.arange(1, 8) * 0.16)
    horizontal = [y[0] for _, y in lines[len(vertical) :]]
    np.testing.assert_array_equal(horizontal, np.arange(1, 8) * 16)


def test_each_clone_covers_exactly_its_hidden_patches():
    for axes, mask in zip(clone_axes(draw_clip(SOURCE, MASKS, PLAIN)), MASKS, strict=True):
        spectrogram, cover = axes.images
        np.testing.assert_array_equal(spectrogram.get_array(), SOURCE[0, 0].T)
        covered = ~np.ma.getmaskarray(cover.get_array())  # (F / P, T / P)
        np.testing.assert_array_equal(covered, mask.reshape(GRID).T)
        assert cover.get_extent() == spectrogram.get_extent()
        opaque = cover.to_rgba(cover.get_array())[..., 3]
        np.testing.assert_array_equal(opaque, covered)


def test_long_clips_get_their_masks_in_time_order():
    mask = np.ones((1, 64 * 8), dtype=bool)
    mask[0, 63 * 8] = False  # the last patch in time, the lowest in frequency
    (axes,) = clone_axes(draw_clip(torch.zeros(1, 1, 1024, 128), mask, PLAIN))
    covered = ~np.ma.getmaskarray(axes.images[1].get_array())
    assert not covered[0, 63] and covered.sum() == 64 * 8 - 1


def test_padding_is_marked_where_the_sound_ends():
    log_mel = LogMel(mean=-4.268, std=4.569, target_length=128)
    padded = log_mel(0.1 * torch.randn(16_240, generator=torch.Generator().manual_seed(0)))
    axes = draw_clip(padded, MASKS, log_mel).axes[0]
    assert [text.get_text() for text in axes.texts] == ["padding from 1.00 s"]
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [1.0]
    assert not draw_clip(SOURCE, MASKS, PLAIN).axes[0].texts


def test_a_file_name_is_shown_as_it_is(tmp_path):
    title = "50 $ and 60 $ \\x^.wav"
    figure = draw_clip(SOURCE, MASKS, PLAIN, title=title)
    save_figure(figure, tmp_path / "clip")
    assert figure.axes[0].get_title(loc="left") == title


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="source: found 120 frames x 128 bins, expected multip"):
        draw_clip(SOURCE[:, :, :120], MASKS, PLAIN)
    with pytest.raises(ValueError, match=r"masks: found shape \(5, 60\), expected \(K, 64\)"):
        draw_clip(SOURCE, MASKS[:, :60], PLAIN)


@pytest.mark.parametrize("frequency_hz", [250, 500, 1000, 2000, 4000, 7000])
def test_the_frequency_axis_agrees_with_the_filter_bank(frequency_hz):
    time = torch.arange(16_000) / 16_000
    spectrum = (
        LogMel().filter_bank(0.5 * torch.sin(2 * torch.pi * frequency_hz * time))[0].mean(dim=0)
    )
    assert abs(mel_bin_of(frequency_hz, LogMel()) - (int(spectrum.argmax()) + 0.5)) <= 1
