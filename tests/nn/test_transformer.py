"""The ways to attend agree, torch's and the one with a gradient by hand; and drop path."""

import pytest
import torch
import torch.nn.functional as F

from eat.nn import Encoder, EncoderConfig
from eat.nn.gradients import AttentionByHand, by_hand
from eat.nn.transformer import Attention, Block, attend, drop_path, split_heads

SMALL = EncoderConfig(embed_dim=32, depth=5, num_heads=4, num_position_rows=4)
NUM_HEADS = 4


def formula(qkv, valid):
    """softmax(q k / sqrt(d)) v in float64, with autograd's gradient."""
    q, k, v = split_heads(qkv.double(), NUM_HEADS)
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None, None, :], float("-inf"))
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


@pytest.fixture
def qkv():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 21, 3 * 48, generator=generator)


@pytest.fixture(params=[False, True], ids=["all tokens", "padded"])
def valid(request):
    lengths = torch.tensor([21, 5, 1])
    return torch.arange(21) < lengths[:, None] if request.param else None


def test_without_a_gradient(qkv, valid):
    assert torch.allclose(attend(qkv, NUM_HEADS, valid).double(), formula(qkv, valid), atol=1e-6)
    # In half precision the errors are those of rounding inputs and outputs, not of sums.
    half = qkv.bfloat16().requires_grad_()
    error = (attend(half, NUM_HEADS, valid).double() - formula(half, valid)).abs().max()
    assert error < 0.02


@pytest.mark.parametrize("max_tokens", [20, 21], ids=["torch's", "by hand"])
def test_with_a_gradient(qkv, valid, max_tokens):
    qkv.requires_grad_()
    limited = by_hand(AttentionByHand, max_tokens)(attend.__wrapped__)
    out = limited(qkv, NUM_HEADS, valid)
    assert ("AttentionByHand" in type(out.grad_fn).__name__) == (max_tokens == 21)
    expected = formula(qkv, valid)
    assert torch.allclose(out.double(), expected, atol=1e-6)
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, qkv, grad)[0]
    assert torch.allclose(found, torch.autograd.grad(expected, qkv, grad.double())[0], atol=1e-5)


def test_a_module_projects_before_and_after(qkv):
    torch.manual_seed(0)
    attention = Attention(EncoderConfig(embed_dim=48, num_heads=NUM_HEADS))
    x = torch.randn(2, 7, 48)
    expected = attention.proj(formula(attention.qkv(x), None).float())
    assert torch.allclose(attention(x), expected, atol=1e-5)
    assert F.mse_loss(attention(x), attention(x.flip(1)).flip(1)) < 1e-10  # no order among tokens


def test_drop_path_leaves_rows_out_and_keeps_the_mean():
    torch.manual_seed(0)
    branch = torch.ones(4000, 2, 3)
    dropped = drop_path(branch, 0.2)
    values = dropped.flatten(1)
    assert (values == values[:, :1]).all()  # whole rows
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.03)
    assert drop_path(branch, 0.0) is branch


def test_a_block_without_its_branches_is_its_two_norms():
    torch.manual_seed(0)
    block = Block(SMALL).train()
    x = torch.randn(2, 5, 32)
    block.drop_path_rate = 1 - 1e-9
    expected = block.norm2(block.norm1(x))
    assert torch.allclose(block(x)[0], expected)
    # What the teacher's targets are made of is the branch itself.
    assert torch.equal(block(x)[1], block.mlp(block.norm1(x)))
    block.eval()
    assert not torch.allclose(block(x)[0], expected)


def test_rates_grow_linearly_from_the_first_block_to_the_last():
    encoder = Encoder(SMALL)
    assert [block.drop_path_rate for block in encoder.blocks] == [0.0] * 5
    encoder.set_drop_path(0.1)
    rates = [block.drop_path_rate for block in encoder.blocks]
    assert rates == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1])
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="drop_path: found .*, expected a number from 0"):
            encoder.set_drop_path(rate)
