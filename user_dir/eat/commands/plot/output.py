"""Where the actions of `eat plot` put their figures."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_out_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare `--out`."""
    parser.add_argument(
        "--out",
        default=default,
        metavar="PATH",
        help="where to write PATH.png and PATH.svg; existing ones are replaced"
        " (default: %(default)s)",
    )


def write_figure(figure: "Figure", args: argparse.Namespace) -> None:
    """Save a figure where `--out` says, and say where that is."""
    from eat.figures import save_figure

    for path in save_figure(figure, args.out):
        print(path)
