"""Gradients written by hand equal autograd's of the plain formula, for every layer that has one."""

import re

import pytest
import torch
from helpers import REPOSITORY

from eat.nn import EncoderConfig, gradients
from eat.nn.decoder import DecoderLayer
from eat.nn.transformer import Block, Mlp

LAYERS = {
    "mlp": (lambda: Mlp(16, 32), (3, 5, 16)),
    "block": (lambda: Block(EncoderConfig(embed_dim=16, num_heads=2)), (3, 5, 16)),
    "decoder": (lambda: DecoderLayer(16, 3, 4), (2, 6, 4, 16)),
}


def run(layer, x, grad, **autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=bool(autocast)):
        out = layer(x)
    out = out[0] if isinstance(out, tuple) else out
    return [out, *torch.autograd.grad(out, [x, *layer.parameters()], grad.to(out.dtype))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_autograd(name, dtype, tolerance, monkeypatch):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().to(dtype)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    grad = torch.randn(shape, dtype=dtype)
    found = run(layer, x, grad)
    monkeypatch.setattr(gradients, "writes_own_gradient", lambda x: False)
    for ours, expected in zip(found, run(layer, x, grad), strict=True):
        assert ours.dtype == dtype
        assert (ours - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1)


def test_private_functions_of_torch_are_used_in_one_file():
    package = REPOSITORY / "user_dir" / "eat"
    private = re.compile(r"torch\._[a-z]|torch\.ops\.")
    users = [p for p in package.rglob("*.py") if private.search(p.read_text())]
    assert users == [package / "nn" / "gradients.py"]


def test_only_where_a_gradient_is_needed():
    x = torch.zeros(1)
    assert not gradients.writes_own_gradient(x)
    assert gradients.writes_own_gradient(x.requires_grad_())
    with torch.no_grad():
        assert not gradients.writes_own_gradient(x)


@pytest.mark.parametrize("name", LAYERS)
def test_autocast_trains(name):
    """Within the rounding of bfloat16, what float32 gives."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, x, grad = make(), torch.randn(shape, requires_grad=True), torch.randn(shape)
    found, expected = run(layer, x, grad, autocast=True), run(layer, x, grad)
    for ours, value in zip(found[1:], expected[1:], strict=True):
        assert ours.dtype == torch.float32
        assert (ours - value).abs().max() <= 0.05 * value.abs().max().clamp(min=1)
