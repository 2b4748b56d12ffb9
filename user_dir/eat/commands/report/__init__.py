"""`eat report`: a training run as one page."""

import argparse
import os

from ..arguments import whole_number

HELP = "everything about a training run on one page, as HTML"

DESCRIPTION = """\
Write one page about a training run: its settings and data, curves, masks, results, speed,
environment and the command to repeat it. The page needs no network, no other file and no
JavaScript. Results of `eat evaluate` and `eat probe` are shown if they lie in the run's folder
(--out RUN/evaluation) or in one that is named.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat report`."""
    parser.description = DESCRIPTION
    parser.add_argument("run", metavar="RUN", help="the run's folder, its checkpoint.save_dir")
    parser.add_argument(
        "--out", default="report.html", help="the file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--log", help="a file with what the run printed (default: RUN/train.log, if it is there)"
    )
    parser.add_argument(
        "--results", nargs="+", metavar="DIR", default=[], help="further folders with results"
    )
    parser.add_argument(
        "--num-embedded",
        type=whole_number(0),
        default=200,
        help="validation clips of the map of embeddings at most, 0 for none (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from eat.figures.report.page import render
    from eat.files import replace_file
    from eat.training.run_folder import read_run

    page = render(read_run(args.run, args.log), args.results, args.num_embedded)
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    with replace_file(args.out) as file:
        file.write(page.encode(errors="backslashreplace"))  # names need not be UTF-8
    print(args.out)
    return 0
