"""What a mask setting does: how much its blocks keep, and what the exact count then changes."""

from dataclasses import dataclass, replace
from typing import Tuple

import numpy as np

from eat.nn.masking import (
    MaskingConfig,
    check_masking,
    draw_blocks,
    num_blocks,
    num_visible_patches,
)


@dataclass(frozen=True)
class MaskStatistics:
    """Of many clones, before random patches are shown or hidden to make their numbers equal.

    Attributes:
        num_blocks: visible blocks drawn per clone.
        num_visible: V, the patches that each clone keeps in the end.
        counts: (N,) int64, patches in the blocks of each clone.
        coverage: (H, W), share of the clones in which a patch is in a block.
    """

    num_blocks: int
    num_visible: int
    counts: np.ndarray
    coverage: np.ndarray

    @property
    def share_below(self) -> float:
        """Share of the clones whose blocks hold fewer than V patches."""
        return float((self.counts < self.num_visible).mean())

    @property
    def mean_added(self) -> float:
        """Patches outside all blocks that such a clone shows in addition; 0 if there is none."""
        missing = self.num_visible - self.counts
        return float(missing[missing > 0].mean()) if (missing > 0).any() else 0.0

    @property
    def mean_removed(self) -> float:
        """Patches of its blocks that a clone with more than V hides; 0 if there is none."""
        surplus = self.counts - self.num_visible
        return float(surplus[surplus > 0].mean()) if (surplus > 0).any() else 0.0


def measure_masks(
    config: MaskingConfig, grid: Tuple[int, int], num_draws: int, generator: np.random.Generator
) -> MaskStatistics:
    """Draw blocks many times and count.

    Args:
        config: the setting; its number of clones does not matter.
        grid: (H, W), patches along time and frequency.
        num_draws: N.
        generator: source of all randomness.

    Raises:
        ValueError: the setting is impossible on this grid, see `check_masking`.
    """
    check_masking(config, grid)
    in_block = draw_blocks(replace(config, num_clones=num_draws), grid, generator)
    return MaskStatistics(
        num_blocks=num_blocks(config, in_block.shape[1]),
        num_visible=num_visible_patches(config, in_block.shape[1]),
        counts=in_block.sum(axis=1),
        coverage=in_block.mean(axis=0).reshape(grid),
    )
