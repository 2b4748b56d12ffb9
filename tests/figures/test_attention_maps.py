"""Attention weights are those that the block itself uses."""

import pytest
import torch

import eat
from eat.figures.attention_maps import attention_weights, cls_attention
from eat.nn import EncoderConfig
from eat.nn.transformer import Attention


@pytest.fixture(scope="module")
def encoder(official_pretrain):
    return eat.load_encoder(official_pretrain)


def test_weights_times_values_are_the_blocks_own_output():
    torch.manual_seed(0)
    attention = Attention(EncoderConfig(embed_dim=48, num_heads=4))
    x = torch.randn(2, 7, 48)
    weights = attention_weights(attention, x)
    assert weights.shape == (2, 4, 7, 7)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, 7), atol=1e-6)
    values = attention.qkv(x)[..., 96:].view(2, 7, 4, 12).transpose(1, 2)
    attended = attention.proj((weights @ values).transpose(1, 2).reshape(2, 7, 48))
    assert torch.allclose(attended, attention(x), atol=1e-6)


@pytest.mark.parametrize("layer", [1, 3])
def test_cls_attends_in_the_block_that_was_asked_for(encoder, golden, layer):
    source = golden("source")
    found = cls_attention(encoder, source, layer)
    assert found.shape == (2, 4, 65)
    # The input of a block is the output of the one before it.
    x = encoder.pre_norm(
        torch.cat([encoder.cls_token.expand(2, -1, -1), encoder.embed(source)], dim=1)
    )
    outputs = [x, *(output for output, _ in encoder.layers(source))]
    weights = attention_weights(encoder.blocks[layer - 1].attn, outputs[layer - 1])
    assert torch.allclose(found, weights[:, :, 0], atol=1e-6)


def test_the_encoder_is_left_as_it_was(encoder, golden):
    expected = encoder(golden("source"))
    cls_attention(encoder, golden("source"), 2)
    assert torch.equal(encoder(golden("source")), expected)
    assert not encoder.blocks[1].attn._forward_pre_hooks


@pytest.mark.parametrize("layer", [0, 4])
def test_a_block_that_is_not_there_is_named(encoder, golden, layer):
    with pytest.raises(ValueError, match=f"layer: found {layer}, expected 1 to 3"):
        cls_attention(encoder, golden("source"), layer)
