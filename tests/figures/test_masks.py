"""The figure of mask settings shows their statistics and a real clone."""

from dataclasses import replace

import numpy as np
import pytest

from eat.figures.masks import ADDED, HIDDEN, IN_BLOCK, REMOVED, draw_masks, examine_masks
from eat.nn.masking import MaskingConfig, draw_blocks, inverse_block_masks

GRID = (64, 8)


def examine(side=5, num_draws=300):
    return examine_masks(replace(MaskingConfig(), mask_block_size=side), GRID, num_draws)


def test_the_clone_is_one_that_training_could_draw():
    for side in (3, 5, 8):
        config = replace(MaskingConfig(), mask_block_size=side)
        clone = examine(side).clone.ravel()
        visible = np.isin(clone, (IN_BLOCK, ADDED))
        masks = inverse_block_masks(config, GRID, np.random.default_rng(1))
        np.testing.assert_array_equal(visible, ~masks[0])
        in_block = draw_blocks(config, GRID, np.random.default_rng(1))[0]
        np.testing.assert_array_equal(np.isin(clone, (IN_BLOCK, REMOVED)), in_block)
        assert (clone == HIDDEN).sum() == (masks[0] & ~in_block).sum()


def test_every_setting_has_its_counts_its_coverage_and_its_clone():
    settings = {"five": examine(5), "eight": examine(8)}
    figure = draw_masks(settings)
    assert [row.get_suptitle() for row in figure.subfigs] == ["five", "eight"]
    for row, setting in zip(figure.subfigs, settings.values(), strict=True):
        counts, coverage, clone = row.axes[:3]
        statistics = setting.statistics
        assert counts.get_title(loc="left").startswith(
            f"{statistics.num_blocks} blocks hold {statistics.counts.mean():.1f} ±"
        )
        assert counts.get_lines()[0].get_xdata()[0] == statistics.num_visible == 102
        assert sum(bar.get_height() for bar in counts.patches) == pytest.approx(100)
        np.testing.assert_allclose(coverage.images[0].get_array(), 100 * statistics.coverage.T)
        np.testing.assert_array_equal(clone.images[0].get_array(), setting.clone.T)


def test_bars_stand_where_the_counts_are():
    config = replace(MaskingConfig(), mask_block_size=3)
    setting = examine_masks(config, (8, 8), num_draws=200)  # one block: 4, 6 or 9 patches
    bars = draw_masks({"three": setting}).subfigs[0].axes[0].patches
    shown = {bar.get_x() + 0.5: bar.get_height() for bar in bars if bar.get_height() > 0}
    counts, numbers = np.unique(setting.statistics.counts, return_counts=True)
    assert shown == pytest.approx(dict(zip(counts, numbers / 2, strict=True)))


def test_no_setting_is_refused():
    with pytest.raises(ValueError, match="settings: found none"):
        draw_masks({})
