"""`eat plot masks`: numbers and figure of the settings that were asked for."""

from dataclasses import replace

import numpy as np

from eat.figures.mask_statistics import measure_masks
from eat.nn.masking import MaskingConfig


def test_numbers_of_several_sizes(plot, capsys):
    status, (figure,) = plot("masks", "--mask-block-size", 5, 7, "--num-draws", 500)
    assert status == 0
    lines = capsys.readouterr().out.splitlines()
    for first, row, size in ((0, figure.subfigs[0], 5), (3, figure.subfigs[1], 7)):
        config = replace(MaskingConfig(), mask_block_size=size)
        statistics = measure_masks(config, (64, 8), 500, np.random.default_rng(1))
        counts = statistics.counts
        name = f"Blocks of {size} x {size}, 80 % hidden"
        assert lines[first] == f"{name}: 102 of 512 patches visible"
        assert lines[first + 1] == (
            f"  patches in blocks ({statistics.num_blocks} drawn): {counts.mean():.1f} +-"
            f" {counts.std():.1f}, from {counts.min()} to {counts.max()}"
        )
        assert f"{100 * statistics.share_below:.1f} % of the clones" in lines[first + 2]
        assert row.get_suptitle() == name


def test_the_settings_of_a_checkpoint(plot, capsys, official_pretrain):
    plot("masks", "--checkpoint", official_pretrain, "--num-draws", 50)
    assert "Blocks of 3 x 3, 80 % hidden: 12 of 64 patches visible" in capsys.readouterr().out


def test_another_length(plot, capsys):
    plot("masks", "--target-length", 512, "--num-draws", 50)
    assert "51 of 256 patches visible" in capsys.readouterr().out
