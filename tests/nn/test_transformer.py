import pytest
import torch

from eat.nn import Encoder, EncoderConfig
from eat.nn.transformer import Block, drop_path

SMALL = EncoderConfig(embed_dim=32, depth=5, num_heads=4, num_position_rows=4)


def test_drop_path_leaves_rows_out_and_keeps_the_mean():
    torch.manual_seed(0)
    branch = torch.ones(4000, 2, 3)
    dropped = drop_path(branch, 0.2)
    values = dropped.flatten(1)
    assert (values == values[:, :1]).all()  # whole rows
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.03)


def test_without_a_rate_the_branch_is_not_touched():
    branch = torch.ones(2, 3, 4)
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


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates(rate):
    with pytest.raises(ValueError, match="drop_path: found .*, expected a number from 0"):
        Encoder(SMALL).set_drop_path(rate)
