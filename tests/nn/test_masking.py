import numpy as np
import pytest
import torch

from eat.nn.masking import (
    MaskingConfig,
    check_masking,
    draw_blocks,
    inverse_block_masks,
    num_blocks,
    num_visible_patches,
    select_patches,
    split_mask,
)

GRID = (64, 8)


@pytest.mark.parametrize(
    "settings, expected",
    [
        *(({"mask_block_size": size}, (blocks, 102)) for size, blocks in
          ((2, 34), (3, 15), (4, 8), (5, 5), (6, 3), (7, 2), (8, 2))),
        ({"mask_ratio": 0.75, "mask_ratio_adjust": 0.10}, (7, 128)),  # large
    ],
)  # fmt: skip
def test_block_counts_of_the_recipe(settings, expected):
    config = MaskingConfig(**settings)
    assert (num_blocks(config, 512), num_visible_patches(config, 512)) == expected


@pytest.mark.parametrize("block", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.8])
@pytest.mark.parametrize("grid", [(64, 8), (32, 8), (16, 8), (10, 10)])
def test_every_clone_keeps_exactly_the_same_number(block, ratio, grid):
    config = MaskingConfig(num_clones=32, mask_ratio=ratio, mask_block_size=block)
    num_patches = grid[0] * grid[1]
    masks = inverse_block_masks(config, grid, np.random.default_rng(0))
    assert masks.shape == (32, num_patches)
    assert masks.dtype == bool
    assert set((~masks).sum(axis=1)) == {int(num_patches * (1 - ratio))}


# Mean and standard deviation of the patches in blocks, and the share of clones with too few:
# Monte-Carlo figures for the released function, 20,000 draws.
@pytest.mark.parametrize(
    "settings, mean, deviation, below",
    [
        ({"mask_block_size": 2}, 112.0, 5.7, 0.038),
        ({"mask_block_size": 3}, 109.4, 7.4, 0.145),
        ({"mask_block_size": 4}, 100.0, 10.0, 0.54),
        ({"mask_block_size": 5}, 95.7, 11.6, 0.69),
        ({"mask_block_size": 6}, 80.7, 12.9, 0.93),
        ({"mask_block_size": 7}, 72.0, 13.2, 1.0),
        ({"mask_block_size": 8}, 88.5, 17.1, 0.74),
        ({"mask_ratio": 0.75, "mask_ratio_adjust": 0.10}, 128.5, 14.1, 0.46),
    ],
)
def test_blocks_cover_as_much_as_the_released_ones(settings, mean, deviation, below):
    config = MaskingConfig(num_clones=20_000, **settings)
    covered = draw_blocks(config, GRID, np.random.default_rng(0)).sum(axis=1)
    assert covered.mean() == pytest.approx(mean, abs=0.5)
    assert covered.std() == pytest.approx(deviation, abs=0.3)
    assert (covered < num_visible_patches(config, 512)).mean() == pytest.approx(below, abs=0.02)


def test_blocks_are_clamped_at_the_border():
    """Patches beyond the border fall on it, so corners are in a block more often than 1/L."""
    config = MaskingConfig(num_clones=20_000)
    in_block = draw_blocks(config, GRID, np.random.default_rng(0)).mean(axis=0).reshape(GRID)
    # A corner is covered by the 3 x 3 centres nearest to it, the middle by 5 x 5.
    assert in_block[0, 0] == pytest.approx(1 - (1 - 9 / 512) ** 5, abs=0.01)
    assert in_block[32, 4] == pytest.approx(1 - (1 - 25 / 512) ** 5, abs=0.01)


def test_blocks_are_kept_whole_when_there_are_too_few():
    config = MaskingConfig(num_clones=500)
    blocks = draw_blocks(config, GRID, np.random.default_rng(3))
    masks = inverse_block_masks(config, GRID, np.random.default_rng(3))
    for in_block, mask in zip(blocks, masks, strict=True):
        if in_block.sum() <= 102:
            assert not mask[in_block].any()
        else:
            assert in_block[~mask].all()


def test_same_seed_same_masks():
    first, second, other = (
        inverse_block_masks(MaskingConfig(), GRID, np.random.default_rng((1, 2, clip)))
        for clip in (3, 3, 4)
    )
    assert (first == second).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    "settings, grid, message",
    [
        ({"num_clones": 0}, GRID, "num_clones: found 0, expected 1 or more"),
        ({"mask_ratio": 1.0}, GRID, "mask_ratio: found 1.0, expected a number between 0 and 1"),
        ({"mask_ratio": 0.0}, GRID, "mask_ratio: found 0.0"),
        ({"mask_ratio": 0.999}, (8, 8), "mask_ratio: 0.999 leaves none of 64 patches visible"),
        ({"mask_block_size": 9}, GRID, "mask_block_size: found 9, expected 1 to 8"),
        ({"mask_block_size": 0}, GRID, "mask_block_size: found 0"),
        ({"mask_block_size": 5}, (8, 8), "mask_block_size: a block of 5 x 5 is more than"),
    ],
)
def test_impossible_settings(settings, grid, message):
    with pytest.raises(ValueError, match=message):
        check_masking(MaskingConfig(**settings), grid)


def test_a_mask_is_split_into_the_places_of_both_parts():
    masks = torch.from_numpy(inverse_block_masks(MaskingConfig(), GRID, np.random.default_rng(0)))
    visible, hidden = split_mask(masks)
    assert visible.shape == (16, 102)
    assert hidden.shape == (16, 410)
    for mask, seen, unseen in zip(masks, visible, hidden, strict=True):
        assert seen.tolist() == torch.nonzero(~mask).flatten().tolist()
        assert unseen.tolist() == torch.nonzero(mask).flatten().tolist()
    known = split_mask(masks, num_visible=102)
    assert torch.equal(known[0], visible) and torch.equal(known[1], hidden)
    masks[0, visible[0, 0]] = True
    with pytest.raises(ValueError, match=r"different numbers of visible patches \(101 to 102\)"):
        split_mask(masks)


def test_selected_patches_follow_one_another():
    x = torch.arange(2 * 4 * 3).view(2, 4, 3)
    chosen = select_patches(x, torch.tensor([[0, 3], [2, 1]]))
    assert torch.equal(chosen, torch.stack([x[0, 0], x[0, 3], x[1, 2], x[1, 1]]))
