"""Mask settings: their statistics, against numbers that were simulated independently of this code,
and a figure of them with a real clone."""

from dataclasses import replace

import numpy as np
import pytest

from eat.figures.masks import ADDED, HIDDEN, IN_BLOCK, REMOVED, draw_masks, examine_masks
from eat.nn.masking import MaskingConfig, draw_blocks, inverse_block_masks

GRID = (64, 8)
BASE = MaskingConfig()
# 20,000 draws by a re-statement of the released algorithm, written without this code.
# side of a block: blocks, mean and deviation of the count, % below, mean added and removed
SIMULATED = {
    2: (34, 112.0, 5.7, 3.8, 3, 11),
    3: (15, 109.4, 7.4, 14.5, 5, 10),
    4: (8, 100.0, 10.0, 54, 9, 7),
    5: (5, 95.7, 11.6, 69, 12, 7),
    6: (3, 80.7, 12.9, 93, 23, 6),
    7: (2, 72.0, 13.2, 100, 30, 0),
    8: (2, 88.5, 17.1, 74, 21, 8),
}


def examine(num_draws=20_000, **settings):
    return examine_masks(replace(BASE, **settings), GRID, num_draws)


@pytest.mark.parametrize("side", [3, 5, 8])
def test_the_clone_is_one_that_training_could_draw(side):
    config = replace(BASE, mask_block_size=side)
    clone = examine(300, mask_block_size=side).clone.ravel()
    masks = inverse_block_masks(config, GRID, np.random.default_rng(1))
    np.testing.assert_array_equal(np.isin(clone, (IN_BLOCK, ADDED)), ~masks[0])
    in_block = draw_blocks(config, GRID, np.random.default_rng(1))[0]
    np.testing.assert_array_equal(np.isin(clone, (IN_BLOCK, REMOVED)), in_block)
    assert (clone == HIDDEN).sum() == (masks[0] & ~in_block).sum()


def test_every_setting_has_its_counts_its_coverage_and_its_clone():
    settings = [examine(300, mask_block_size=5), examine(300, mask_block_size=8)]
    figure = draw_masks(settings)
    assert [row.get_suptitle() for row in figure.subfigs] == [
        "Blocks of 5 x 5, 80 % hidden", "Blocks of 8 x 8, 80 % hidden",
    ]  # fmt: skip
    for row, setting in zip(figure.subfigs, settings, strict=True):
        counts, coverage, clone = row.axes[:3]
        title = f"{setting.num_blocks} blocks hold {setting.counts.mean():.1f} ±"
        assert counts.get_title(loc="left").startswith(title)
        assert counts.get_lines()[0].get_xdata()[0] == setting.num_visible == 102
        assert sum(bar.get_height() for bar in counts.patches) == pytest.approx(100)
        np.testing.assert_allclose(coverage.images[0].get_array(), 100 * setting.coverage.T)
        np.testing.assert_array_equal(clone.images[0].get_array(), setting.clone.T)


def test_bars_stand_where_the_counts_are():
    config = replace(BASE, mask_block_size=3)
    setting = examine_masks(config, (8, 8), num_draws=200)  # one block: 4, 6 or 9 patches
    bars = draw_masks([setting]).subfigs[0].axes[0].patches
    shown = {bar.get_x() + 0.5: bar.get_height() for bar in bars if bar.get_height() > 0}
    counts, numbers = np.unique(setting.counts, return_counts=True)
    assert shown == pytest.approx(dict(zip(counts, numbers / 2, strict=True)))


def test_no_setting_is_refused():
    with pytest.raises(ValueError, match="settings: found none"):
        draw_masks([])


LARGE = {"mask_ratio": 0.75, "mask_ratio_adjust": 0.10}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        *(({"mask_block_size": side}, expected) for side, expected in SIMULATED.items()),
        (LARGE, (7, 128.5, 14.1, 46, 12, 11)),
    ],
)
def test_statistics_are_those_of_the_simulation(settings, expected):
    blocks, mean, deviation, percent_below, added, removed = expected
    statistics = examine(**settings)
    assert statistics.num_blocks == blocks
    assert statistics.counts.mean() == pytest.approx(mean, abs=0.4)
    assert statistics.counts.std() == pytest.approx(deviation, abs=0.3)
    # Four standard errors of a share of 20,000 draws are 1.4 %, and both sides are drawn.
    assert 100 * statistics.share_below == pytest.approx(percent_below, abs=1.5)
    assert statistics.mean_added == pytest.approx(added, abs=0.8)
    assert statistics.mean_removed == pytest.approx(removed, abs=0.8)


def test_the_base_setting_counts_and_covers_and_clamps_blocks_at_the_border():
    statistics = examine()
    counts, coverage = statistics.counts, statistics.coverage
    assert 40 <= counts.min() <= 50 and counts.max() == 125  # five whole blocks
    assert coverage.shape == GRID and coverage.sum() == pytest.approx(counts.mean())
    # Clamped and not dropped: the outermost patches lose neighbours, but none to redrawing.
    inner = coverage[8:-8, 2:-2].mean()
    assert coverage[8:-8, 0].mean() < 0.75 * inner  # three of five columns reach it
    assert coverage[0].mean() < 0.75 * inner


def test_what_is_added_and_removed_is_what_the_masks_do():
    config = replace(BASE, num_clones=200)
    blocks = examine_masks(config, GRID, 200, seed=2)
    masks = inverse_block_masks(config, GRID, np.random.default_rng(2))  # the same blocks
    shown = (~masks).sum(axis=1) - blocks.counts
    assert blocks.mean_added == shown[shown > 0].mean()
    assert blocks.mean_removed == -shown[shown < 0].mean()
    assert blocks.share_below == (shown > 0).mean()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="mask_block_size: found 9, expected 1 to 8"):
        examine(mask_block_size=9)
