"""`eat plot masks`: what settings of masks do."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Mapping

from ..arguments import whole_number
from .clips import MAX_FRAMES, add_target_length_argument
from .output import add_out_argument, write_figure
from .training import BLOCK_SIZE, add_training_arguments, read_training_settings

if TYPE_CHECKING:
    from eat.figures.masks import MaskSetting

HELP = "how much the visible blocks hold, and where they lie"

DESCRIPTION = """\
Draw many clones and count: the patches in their blocks, before random ones are shown or hidden to
make the number equal in all, and how often each patch of the grid is in a block. Several sizes of
blocks are drawn below each other.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat plot masks`."""
    parser.description = DESCRIPTION
    add_training_arguments(parser)
    parser.add_argument("--mask-block-size", nargs="+", **BLOCK_SIZE)
    add_target_length_argument(parser, f"the checkpoint's, or {MAX_FRAMES}")
    parser.add_argument(
        "--num-draws", type=whole_number(1), default=10_000, help="clones (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=1, help="of the draws (default: %(default)s)"
    )
    add_out_argument(parser, default="masks")


def run(args: argparse.Namespace) -> int:
    """Measure and draw all settings."""
    from eat.figures.masks import draw_masks, examine_masks

    masking, front_end = read_training_settings(args)
    length = args.target_length or front_end.target_length or MAX_FRAMES
    front_end = replace(front_end, target_length=length)  # refuses impossible ones
    grid = (
        length // front_end.patch_size,
        front_end.num_mel_bins // front_end.patch_size,
    )
    settings = {}
    for size in args.mask_block_size or [masking.mask_block_size]:
        config = replace(masking, mask_block_size=size)
        name = f"Blocks of {size} x {size}, {100 * config.mask_ratio:g} % hidden"
        settings[name] = examine_masks(config, grid, args.num_draws, args.seed)
    print(as_text(settings))
    write_figure(draw_masks(settings), args)
    return 0


def as_text(settings: "Mapping[str, MaskSetting]") -> str:
    """A few lines of numbers per setting."""
    lines = []
    for name, (statistics, _) in settings.items():
        counts, share_below = statistics.counts, 100 * statistics.share_below
        added, removed = statistics.mean_added, statistics.mean_removed
        lines += [
            f"{name}: {statistics.num_visible} of {statistics.coverage.size} patches visible",
            f"  patches in blocks ({statistics.num_blocks} drawn): {counts.mean():.1f} +-"
            f" {counts.std():.1f}, from {counts.min()} to {counts.max()}",
            f"  {share_below:.1f} % of the clones have fewer than visible and show {added:.1f} more"
            f" on average; those with more hide {removed:.1f}",
        ]
    return "\n".join(lines)
