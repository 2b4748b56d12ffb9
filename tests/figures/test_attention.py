"""Attention weights are those that the block itself uses, and the figure shows them in place."""

import numpy as np
import pytest
import torch

import eat
from eat.audio import LogMel
from eat.figures.attention import cls_attention, draw_attention
from eat.nn import EncoderConfig
from eat.nn.transformer import Attention, attention_weights

PLAIN = LogMel(mean=0.0, std=0.5, target_length=None)  # leaves log-mel values as they are
SOURCE = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 64, 128)).astype(np.float32))
WEIGHTS = np.random.default_rng(1).dirichlet(np.ones(1 + 4 * 8), size=5)


def test_every_head_and_their_mean_in_per_cent_on_one_scale():
    figure = draw_attention(SOURCE, WEIGHTS, PLAIN, title="dog.flac, block 2")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    mean = next(title for title in panels if title.startswith("Mean over heads"))
    assert f"CLS gives {100 * WEIGHTS[:, 0].mean():.1f} % to itself" in mean
    maps = 100 * WEIGHTS[:, 1:].reshape(5, 4, 8)
    clip = panels["dog.flac, block 2"]
    np.testing.assert_array_equal(clip.images[0].get_array(), SOURCE[0, 0].T)
    shown = {mean: maps.mean(axis=0), **{f"head {n + 1}": one for n, one in enumerate(maps)}}
    for title, values in shown.items():
        (image,) = panels[title].images
        np.testing.assert_allclose(image.get_array(), values.T)
        assert image.get_clim() == (0, np.percentile(maps, 99.5))
    assert panels["head 1"].get_xlim() == (0, 0.64) == clip.get_xlim()  # seconds


def test_attention_of_another_clip_is_refused():
    with pytest.raises(ValueError, match=r"attention: found shape \(5, 30\), expected \(heads, 33"):
        draw_attention(SOURCE, WEIGHTS[:, :30], PLAIN)


@pytest.fixture(scope="module")
def encoder(official_pretrain):
    return eat.load_encoder(official_pretrain)


def test_weights_times_values_are_the_blocks_own_output():
    torch.manual_seed(0)
    attention = Attention(EncoderConfig(embed_dim=48, num_heads=4))
    x = torch.randn(2, 7, 48)
    weights = attention_weights(attention.qkv(x), attention.num_heads)
    assert weights.shape == (2, 4, 7, 7)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, 7), atol=1e-6)
    values = attention.qkv(x)[..., 96:].view(2, 7, 4, 12).transpose(1, 2)
    attended = attention.proj((weights @ values).transpose(1, 2).reshape(2, 7, 48))
    assert torch.allclose(attended, attention(x), atol=1e-6)


@pytest.mark.parametrize("layer", [1, 3])
def test_cls_attends_in_the_block_that_was_asked_for(encoder, golden, layer):
    source = golden("source")
    before = encoder(source)
    found = cls_attention(encoder, source, layer)
    assert found.shape == (2, 4, 65)
    # The input of a block is the output of the one before it.
    x = torch.cat([encoder.cls_token.expand(2, -1, -1), encoder.embed(source)], dim=1)
    outputs = [encoder.pre_norm(x), *(output for output, _ in encoder.layers(source))]
    attention = encoder.blocks[layer - 1].attn
    weights = attention_weights(attention.qkv(outputs[layer - 1]), attention.num_heads)
    assert torch.allclose(found, weights[:, :, 0], atol=1e-6)
    # The encoder is left as it was.
    assert torch.equal(encoder(source), before) and not attention._forward_pre_hooks


@pytest.mark.parametrize("layer", [0, 4])
def test_a_block_that_is_not_there_is_named(encoder, golden, layer):
    with pytest.raises(ValueError, match=f"layer: found {layer}, expected 1 to 3"):
        cls_attention(encoder, golden("source"), layer)
