from dataclasses import replace

import pytest
import torch
from torch import nn

import eat
from eat.nn import Encoder, EncoderConfig, pack_linears

SMALL = EncoderConfig(embed_dim=48, depth=3, num_heads=4, num_position_rows=16)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(SMALL).eval()


def assert_close(found, recorded, tolerance=1e-5):
    assert found.shape == recorded.shape
    assert ((found - recorded).abs().max() / recorded.abs().max()) < tolerance


@torch.no_grad()
@pytest.mark.parametrize("prepare", [nn.Module.eval, pack_linears], ids=["plain", "packed"])
@pytest.mark.parametrize("num_frames", [64, 128, 256])
def test_features_equal_the_recorded_ones(golden, official_pretrain, num_frames, prepare):
    source = golden("source" if num_frames == 128 else f"source_{num_frames}")
    encoder = prepare(eat.load_encoder(official_pretrain))
    assert_close(encoder(source), golden(f"features_{num_frames}"))
    if num_frames == 128:
        outputs = torch.stack([mlp for _, mlp in encoder.layers(source)])
        assert_close(outputs, golden("mlp_outputs_128"))


@pytest.mark.parametrize(
    "config, blocks, encoder",
    [
        (EncoderConfig(), 85_054_464, 85_254_144),
        (EncoderConfig(embed_dim=1024, depth=24, num_heads=16), 302_309_376, 302_575_616),
    ],
    ids=["base", "large"],
)
def test_parameter_counts_of_the_recipe(config, blocks, encoder):
    model = Encoder(replace(config, num_position_rows=1))
    assert sum(p.numel() for p in model.blocks.parameters()) == blocks
    assert sum(p.numel() for p in model.parameters()) == encoder


@torch.no_grad()
def test_padding_never_changes_valid_outputs(encoder):
    clip = torch.randn(1, 1, 96, 128)
    padded = torch.cat([clip, torch.full((1, 1, 160, 128), float("nan"))], dim=2)
    other = torch.randn(1, 1, 256, 128)
    batch = encoder(torch.cat([padded, other]), lengths=torch.tensor([96, 256]))
    assert torch.allclose(batch[:1, : 1 + 6 * 8], encoder(clip), atol=1e-5)
    assert torch.allclose(batch[1:], encoder(other), atol=1e-5)
    # Nor does a partly valid patch see its padding.
    first, second = torch.randn(1, 1, 128, 128).expand(2, -1, -1, -1).clone().split(1)
    second[:, :, 100:] = 7.0
    lengths = torch.tensor([100])
    assert torch.equal(encoder(first, lengths), encoder(second, lengths))


def test_positions_beyond_the_table_are_computed(encoder):
    wide = Encoder(replace(SMALL, num_position_rows=64)).eval()
    wide.load_state_dict({**encoder.state_dict(), "positions": wide.positions})
    source = torch.randn(1, 1, 40 * 16, 128)
    with torch.no_grad():
        assert torch.allclose(encoder(source), wide(source), atol=1e-6)


def test_parameters_start_as_in_bert_and_the_cls_token_with_unit_variance(encoder):
    assert encoder.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert encoder.blocks[0].mlp.fc1.bias.abs().max() == 0
    tokens = [Encoder(replace(SMALL, depth=1)).cls_token for _ in range(40)]
    assert torch.cat(tokens).std().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "shape, lengths, message",
    [
        ((1, 1, 100, 128), None, "source: found 100 frames, expected a positive multiple of 16"),
        ((1, 128, 128), None, r"source: found shape \(1, 128, 128\), expected \(B, 1, T, 128\)"),
        ((0, 1, 128, 128), None, "source: found no clips, expected one or more"),
        ((1, 1, 128, 64), None, r"expected \(B, 1, T, 128\)"),
        *(
            ((1, 1, 128, 128), numbers, "lengths: found .* expected 1 numbers from 1 to 128")
            for numbers in ([0], [129], [64, 64])
        ),
    ],
)
def test_wrong_sources_and_lengths(encoder, shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        encoder(torch.zeros(shape), lengths=lengths)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_heads": 5}, "num_heads: found 5, expected a divisor of embed_dim 48"),
        ({"num_mel_bins": 100}, "num_mel_bins: found 100, expected a multiple of patch_size 16"),
        ({"mlp_ratio": -4.0}, "mlp_ratio: found -4.0, expected at least 1 / embed_dim"),
        ({"depth": 0}, "depth: found 0, expected 1 or more"),
        ({"embed_dim": 42, "num_heads": 2}, "embed_dim: found 42, expected a multiple of 4"),
    ],
)
def test_impossible_sizes(settings, message):
    with pytest.raises(ValueError, match=message):
        Encoder(replace(SMALL, **settings))
