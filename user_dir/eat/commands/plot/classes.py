"""`eat plot classes`: how well each class is recognised."""

import argparse

from .output import add_out_argument, write_figure

HELP = "average precision of each class, from the table of `eat evaluate`"

DESCRIPTION = """\
Draw the average precision of each class: as bars (of more than 60 classes the best and the worst
25) and against the number of clips with the class.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat plot classes`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "table",
        metavar="CSV",
        help="columns label, average_precision and num_positives, as `eat evaluate` writes them",
    )
    add_out_argument(parser, default="classes")


def run(args: argparse.Namespace) -> int:
    """Draw the classes of a table."""
    from eat.figures.classes import draw_classes, read_class_results

    write_figure(draw_classes(read_class_results(args.table), title=args.table), args)
    return 0
