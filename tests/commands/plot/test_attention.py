"""`eat plot attention`: the attention of the block, head by head, over the right clip."""

import numpy as np
import torch

import eat
from eat.figures.attention_maps import cls_attention


def test_heads_of_the_chosen_block(plot, recording, official_pretrain):
    arguments = ("attention", recording, "--checkpoint", official_pretrain, "--layer", 2)
    status, (figure,) = plot(*arguments)
    assert status == 0
    encoder = eat.load_encoder(official_pretrain)
    source = encoder.log_mel(torch.from_numpy(eat.read_audio(recording)))
    expected = cls_attention(encoder, source, 2)[0, :, 1:].unflatten(1, (-1, 8))
    clip = figure.subfigs[0].axes[0]
    assert clip.get_title(loc="left") == f"{recording}, block 2 of 3"
    plain = eat.LogMel(mean=0.0, std=0.5, target_length=None)
    log_mel = plain(torch.from_numpy(eat.read_audio(recording)))[0, 0]
    np.testing.assert_allclose(clip.images[0].get_array().T, log_mel, atol=1e-4)
    heads = [axes for axes in figure.subfigs[1].axes if axes.images]
    assert len(heads) == 4
    for axes, weights in zip(heads, expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array().T, 100 * weights, atol=1e-4)


def test_the_last_block_unless_told_otherwise(plot, recording, official_pretrain, capsys):
    _, (figure,) = plot("attention", recording, "--checkpoint", official_pretrain)
    assert figure.subfigs[0].axes[0].get_title(loc="left").endswith("block 3 of 3")
    assert plot("attention", recording, "--checkpoint", official_pretrain, "--layer", 9)[0] == 1
    assert "layer: found 9, expected 1 to 3" in capsys.readouterr().err
