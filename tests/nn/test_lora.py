import pytest
import torch

from eat.nn import Encoder, EncoderConfig
from eat.nn.lora import add_lora, merge_lora

SMALL = EncoderConfig(embed_dim=32, depth=2, num_heads=4, num_position_rows=4)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(SMALL)


def test_adapters_start_at_nothing_and_are_all_that_is_trained(encoder):
    source = torch.randn(2, 1, 64, 128)
    expected = encoder(source)
    add_lora(encoder, 3)
    out = encoder(source)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    trained = {name: value for name, value in encoder.named_parameters() if value.requires_grad}
    layers = [f"blocks.{index}.attn.{name}" for index in (0, 1) for name in ("qkv", "proj")]
    assert trained.keys() == {f"{layer}.lora_{part}" for layer in layers for part in "ab"}
    assert sum(value.numel() for value in trained.values()) == 2 * 3 * (32 + 96 + 32 + 32)
    assert all(trained[f"{layer}.lora_b"].grad.any() for layer in layers)
    assert all((value.grad is None) != value.requires_grad for value in encoder.parameters())


def test_merged_weights_compute_the_same(encoder):
    source, plain = torch.randn(2, 1, 64, 128), Encoder(SMALL)
    add_lora(encoder, 3)
    for name, value in encoder.named_parameters():
        if "lora_b" in name:
            torch.nn.init.normal_(value)
    weights = encoder.state_dict()
    plain.load_state_dict(merge_lora(weights))
    with torch.no_grad():
        assert torch.allclose(plain(source), encoder(source), atol=1e-4)
    assert (
        weights["blocks.0.attn.qkv.weight"] is not merge_lora(weights)["blocks.0.attn.qkv.weight"]
    )
    half = merge_lora({key: value.half() for key, value in weights.items()})
    assert {value.dtype for value in half.values()} == {torch.float16}
    del weights["blocks.1.attn.proj.lora_b"]
    with pytest.raises(KeyError, match=r"blocks.1.attn.proj.lora_b"):
        merge_lora(weights)
