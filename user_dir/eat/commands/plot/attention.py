"""`eat plot attention`: what the CLS token looks at."""

import argparse

from eat.machine import choose_device

from ..arguments import add_weights_argument, whole_number
from ..devices import add_device_argument
from .clips import add_clip_arguments, name_clip, read_clip
from .output import add_out_argument, write_figure

HELP = "what the CLS token of a block attends to in a recording"

DESCRIPTION = """\
Draw the spectrogram of a recording and how one block's CLS token spreads its attention over the
patches: the mean over heads, and each head.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat plot attention`."""
    parser.description = DESCRIPTION
    add_clip_arguments(parser)
    parser.add_argument("--checkpoint", required=True, help="any EAT checkpoint")
    parser.add_argument(
        "--layer", type=whole_number(1), help="number of the block, from 1 (default: the last)"
    )
    add_weights_argument(parser)
    add_device_argument(parser)
    add_out_argument(parser, default="attention")


def run(args: argparse.Namespace) -> int:
    """Draw the attention of one block."""
    from eat.checkpoint import load_encoder
    from eat.figures.network import draw_layer

    encoder = load_encoder(args.checkpoint, args.weights, choose_device(args.device))
    front_end, layer = encoder.log_mel, args.layer or encoder.config.depth
    source = read_clip(args.file, front_end, args.start_seconds, args.target_length)
    write_figure(draw_layer(encoder, source, layer, front_end, name_clip(args)), args)
    return 0
