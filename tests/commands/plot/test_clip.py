"""`eat plot clip`: the part that was asked for, masked as a training would."""

import numpy as np
import pytest
import torch

from eat import LogMel, read_audio
from eat.audio.log_mel import num_samples_for
from eat.nn.masking import MaskingConfig, inverse_block_masks


def spectrogram(figure):
    return figure.subfigs[0].axes[0].images[0].get_array().T


def hidden(figure):
    clones = [axes for axes in figure.subfigs[1].axes if axes.images]
    return np.array([~np.ma.getmaskarray(axes.images[1].get_array()).T for axes in clones])


def test_a_short_file_at_its_own_length_with_its_masks(plot, recording):
    status, (figure,) = plot("clip", recording, "--mask-block-size", 3, "--num-clones", 3)
    assert status == 0
    log_mel = LogMel(mean=0.0, std=0.5, target_length=None)(torch.from_numpy(read_audio(recording)))
    np.testing.assert_allclose(spectrogram(figure), log_mel[0, 0], atol=1e-5)
    config = MaskingConfig(num_clones=3, mask_block_size=3)
    masks = inverse_block_masks(config, (10, 8), np.random.default_rng(1))
    np.testing.assert_array_equal(hidden(figure), masks.reshape(3, 10, 8))
    assert figure.subfigs[0].axes[0].get_title(loc="left") == str(recording)


def test_the_settings_of_a_checkpoint_and_what_overrides_them(plot, recording, official_pretrain):
    _, (figure,) = plot("clip", recording, "--checkpoint", official_pretrain)
    assert spectrogram(figure).shape == (128, 128)  # its target_length
    assert hidden(figure).shape == (4, 8, 8) and hidden(figure).sum() == 4 * 52
    arguments = ("--checkpoint", official_pretrain, "--mask-ratio", 0.5, "--target-length", 64)
    _, (figure,) = plot("clip", recording, *arguments)
    assert hidden(figure).shape == (4, 4, 8) and hidden(figure).sum() == 4 * 16


def test_a_part_from_the_middle(plot, recording):
    arguments = ("--start-seconds", 0.5, "--target-length", 32, "--mask-block-size", 2)
    _, (figure,) = plot("clip", recording, *arguments)
    samples = read_audio(recording, offset_samples=8000, num_samples=num_samples_for(32))
    expected = LogMel(mean=0.0, std=0.5, target_length=32)(torch.from_numpy(samples))
    np.testing.assert_allclose(spectrogram(figure), expected[0, 0], atol=1e-5)
    title = figure.subfigs[0].axes[0].get_title(loc="left")
    assert title == f"{recording} from 0.5 s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start-seconds", "1.49"], "--start-seconds: found 1.49 in a file of 1.50 s"),
        (["--target-length", "100"], "target_length: found 100, expected a positive multiple"),
        (["--mask-block-size", "9"], "mask_block_size: found 9, expected 1 to 8"),
        (["--checkpoint", "none.pt"], "no such checkpoint: none.pt"),
    ],
)
def test_impossible_wishes_are_named(plot, recording, capsys, arguments, message):
    assert plot("clip", recording, *arguments) == (1, [])
    assert message in capsys.readouterr().err


def test_a_checkpoint_without_masks_is_refused(plot, recording, capsys, official_finetune):
    assert plot("clip", recording, "--checkpoint", official_finetune)[0] == 1
    assert "a fine-tuned checkpoint without settings of masks" in capsys.readouterr().err
