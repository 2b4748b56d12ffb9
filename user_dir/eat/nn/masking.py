"""Inverse block multi-masking (EAT section 3.3): which patches each clone of a clip keeps.

A mask is bool, True = hidden from the student and predicted. Masks are drawn on the CPU by the
data workers, from `eat.randomness`: they depend neither on the number of
workers nor on where a run was resumed.

To add a setting, add it to `MaskingConfig`, use it here, and add its key to the yaml files: model,
task and data set get the whole configuration.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from eat.settings import setting


@dataclass
class MaskingConfig:
    """How the patches of a clip are hidden, and how many times."""

    num_clones: int = setting(
        "K, masked copies of a clip that share one teacher target (paper: 16)", 16
    )
    mask_ratio: float = setting("share of the patches hidden from the student (paper: 0.8)", 0.8)
    mask_block_size: int = setting("side of a visible block, in patches (paper: 5)", 5)
    mask_ratio_adjust: float = setting(
        "added to the visible share when blocks are counted, because blocks overlap and are cut at"
        " the border; the final ratio stays mask_ratio (released code: 0.07)",
        0.07,
    )


def num_visible_patches(config: MaskingConfig, num_patches: int) -> int:
    """V, the patches each clone keeps: 102 of 512 at ratio 0.8."""
    return int(num_patches * (1 - config.mask_ratio))


def num_blocks(config: MaskingConfig, num_patches: int) -> int:
    """Visible blocks per clone, before overlaps: 5 of 5x5 on 512 patches at ratio 0.8."""
    visible_ratio = 1 - config.mask_ratio + config.mask_ratio_adjust
    return int(num_patches * visible_ratio / config.mask_block_size**2)


def check_masking(config: MaskingConfig, grid: Tuple[int, int]) -> None:
    """Raise a ValueError if the settings cannot give their masks on a grid of (H, W) patches."""
    num_patches, on_grid = grid[0] * grid[1], f"on a grid of {grid[0]} x {grid[1]} patches"
    ratio, side = config.mask_ratio, config.mask_block_size
    if config.num_clones < 1:
        raise ValueError(f"num_clones: found {config.num_clones}, expected 1 or more")
    if not 0 < ratio < 1:
        raise ValueError(f"mask_ratio: found {ratio}, expected a number between 0 and 1")
    if not 1 <= side <= min(grid):
        raise ValueError(f"mask_block_size: found {side}, expected 1 to {min(grid)} {on_grid}")
    if num_visible_patches(config, num_patches) < 1:
        raise ValueError(
            f"mask_ratio: {ratio} leaves none of {num_patches} patches visible, expected a lower"
            " ratio"
        )
    if num_blocks(config, num_patches) < 1:
        raise ValueError(
            f"mask_block_size: a block of {side} x {side} is more than the visible share"
            f" {on_grid} at mask_ratio {ratio} and mask_ratio_adjust {config.mask_ratio_adjust};"
            " expected a smaller block, a lower ratio or longer clips"
        )


def inverse_block_masks(
    config: MaskingConfig, grid: Tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Draw the masks of all clones of one clip (the released `compute_block_mask_2d`).

    Block centres are drawn uniformly with replacement, so blocks may overlap; parts beyond the
    border are clamped to it. Random patches are then hidden or shown until every clone keeps
    exactly `num_visible_patches`. The settings must have passed `check_masking`.

    A grid of (H, W) patches -> (K, L) bool, L = H * W, time-major; True = hidden.
    """
    visible = draw_blocks(config, grid, generator)
    # Ranked by "in a block" and then at random, the first V patches are the blocks' patches
    # plus random others (too few), or a random choice among the blocks' (too many).
    score = visible + generator.random(visible.shape)
    kept = num_visible_patches(config, visible.shape[1])
    order = np.argpartition(-score, kept - 1, axis=1)
    masks = np.ones_like(visible)
    np.put_along_axis(masks, order[:, :kept], False, axis=1)
    return masks


def draw_blocks(
    config: MaskingConfig, grid: Tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """The visible blocks before their patches are counted: (K, L) bool, True = in a block."""
    height, width = grid
    num_patches = height * width
    centres = generator.integers(
        num_patches, size=(config.num_clones, num_blocks(config, num_patches))
    )
    offsets = np.arange(config.mask_block_size) - config.mask_block_size // 2
    time = np.clip((centres // width)[..., None] + offsets, 0, height - 1)
    frequency = np.clip((centres % width)[..., None] + offsets, 0, width - 1)
    cells = time[..., :, None] * width + frequency[..., None, :]  # (K, blocks, side, side)
    in_block = np.zeros((config.num_clones, num_patches), dtype=bool)
    np.put_along_axis(in_block, cells.reshape(config.num_clones, -1), True, axis=1)
    return in_block


def split_mask(mask: Tensor, num_visible: Optional[int] = None) -> Tuple[Tensor, Tensor]:
    """Indices of the patches that a mask leaves visible and of those that it hides, in order.

    A mask (N, L) bool, True = hidden, with V visible patches in each row -> (N, V) and (N, L - V)
    int64. Without `num_visible` V is counted and checked, so that the host waits for the device.
    """
    if num_visible is None:
        counts = (~mask).sum(dim=-1)
        num_visible, highest = int(counts.min()), int(counts.max())
        if num_visible != highest:
            raise ValueError(
                "mask: found rows with different numbers of visible patches"
                f" ({num_visible} to {highest}), expected the same in each"
            )
    # A stable sort keeps the patches in order within "visible" (False) and "hidden" (True).
    order = torch.sort(mask.to(torch.uint8), dim=-1, stable=True).indices
    return order[:, :num_visible], order[:, num_visible:]


def select_patches(x: Tensor, ids: Tensor) -> Tensor:
    """Some patches of each row, one after the other: (N, L, D) and (N, V) int64 -> (N*V, D)."""
    num_rows, num_patches, _ = x.shape
    first = torch.arange(num_rows, device=x.device) * num_patches
    return x.flatten(0, 1).index_select(0, (ids + first.unsqueeze(1)).flatten())
