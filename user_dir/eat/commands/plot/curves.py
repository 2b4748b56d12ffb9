"""`eat plot curves`: what was logged over the updates of training runs."""

import argparse
import os
from typing import Dict, Sequence

from .output import add_out_argument, write_figure

HELP = "losses, variances, learning rate and metrics over the updates of one or more runs"

DESCRIPTION = """\
Draw what training runs logged, one panel per quantity: losses, metrics of validation, learning
rate, the spread of targets and predictions (near 0 means collapse), the gradient's norm, and the
teacher's decay. Several runs are drawn over each other.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat plot curves`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder (its checkpoint.save_dir), or a file with what it printed",
    )
    add_out_argument(parser, default="curves")


def run(args: argparse.Namespace) -> int:
    """Draw the curves of all runs."""
    from eat.figures import draw_curves
    from eat.training.log import read_training_log
    from eat.training.record import find_log

    logs = {name: read_training_log(find_log(path)) for name, path in name_runs(args.runs).items()}
    write_figure(draw_curves(logs), args)
    return 0


def name_runs(paths: Sequence[str]) -> Dict[str, str]:
    """Runs by the shortest ends of their paths that tell them apart.

    Raises:
        ValueError: one is given twice.
    """
    parts = [os.path.abspath(path).split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise ValueError(f"found a run twice among {', '.join(paths)}, expected different ones")
