"""`eat plot clip`: a recording as the network meets it in pre-training."""

import argparse
from dataclasses import replace

from ..arguments import whole_number
from .clips import add_clip_arguments, name_clip, read_clip
from .output import add_out_argument, write_figure
from .training import BLOCK_SIZE, add_training_arguments, read_training_settings

HELP = "spectrogram and patches of a recording, and what the student sees of it"

DESCRIPTION = """\
Draw the log-mel spectrogram of a recording with its grid of patches and, below it, what the student
sees of it in several differently masked clones.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat plot clip`."""
    parser.description = DESCRIPTION
    add_clip_arguments(parser)
    add_training_arguments(parser)
    parser.add_argument("--mask-block-size", **BLOCK_SIZE)
    parser.add_argument(
        "--num-clones", type=whole_number(1), default=4, help="to show (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=1, help="of the masks (default: %(default)s)"
    )
    add_out_argument(parser, default="clip")


def run(args: argparse.Namespace) -> int:
    """Draw one recording."""
    import numpy as np

    from eat.figures.network import draw_input
    from eat.nn.masking import check_masking, inverse_block_masks

    masking, front_end = read_training_settings(args)
    masking = replace(masking, num_clones=args.num_clones)
    if args.mask_block_size is not None:
        masking = replace(masking, mask_block_size=args.mask_block_size)
    source = read_clip(args.file, front_end, args.start_seconds, args.target_length)
    grid = tuple(size // front_end.patch_size for size in source.shape[2:])
    check_masking(masking, grid)
    masks = inverse_block_masks(masking, grid, np.random.default_rng(args.seed))
    write_figure(draw_input(source, masks, front_end, name_clip(args)), args)
    return 0
