"""The command line of `eat probe`."""

import argparse

from ..arguments import add_encoder_arguments, number, whole_number
from ..devices import add_device_argument
from ..extract import layers
from .clips import SPLITS

HELP = "what can be read from the frozen features of labelled clips, against an untrained encoder"

DESCRIPTION = """\
Fit a logistic regression and nearest neighbours to the frozen features of labelled clips,
standardised, and test them on other clips: cross-validated over all clips, or with --test on a
split of its own. The same network with random weights is probed too: it is a strong baseline, and
only what is above it was learnt. The metric is accuracy if every clip has one label, else mAP.
"""

# Spelled out, as importing them takes seconds; a test compares.
POOLINGS = ("cls", "mean", "time")
METHODS = ("logistic", "knn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat probe`."""
    parser.description = DESCRIPTION
    parser.add_argument("checkpoint", metavar="CKPT", help="any EAT checkpoint")
    parser.add_argument("--data", required=True, help="folder of the manifests and their labels")
    _add_fold_arguments(parser)
    _add_feature_arguments(parser)
    _add_classifier_arguments(parser)
    parser.add_argument(
        "--untrained",
        type=whole_number(0),
        default=1,
        metavar="N",
        help="untrained encoders to compare with, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=1,
        help="of draws, folds and the first untrained encoder; the next one's is one higher"
        " (default: %(default)s)",
    )
    add_device_argument(parser)
    parser.add_argument("--out", help="folder to write probe.json to")
    parser.add_argument("--json", action="store_true", help="print probe.json, for programs")


def _add_fold_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="SPLIT",
        help=f"manifests to use (default: those of {', '.join(SPLITS)} that have labels)",
    )
    parser.add_argument(
        "--max-clips",
        type=whole_number(0),
        default=0,
        help="clips to use, drawn at random; 0 uses all (default: %(default)s)",
    )
    parser.add_argument(
        "--test",
        metavar="SPLIT",
        help="test on this one of them, learning from the others (default: cross-validation)",
    )
    parser.add_argument(
        "--folds",
        type=whole_number(2),
        default=5,
        help="of cross-validation (default: %(default)s)",
    )
    parser.add_argument(
        "--groups-from",
        metavar="SOURCE",
        help="what must not be on both sides, such as a speaker: parent, the folder of a clip;"
        " regex:PATTERN, what its parentheses match in the path of a clip below the root; csv:FILE,"
        " the column `group` of a table (default: every clip is for itself)",
    )


def _add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pooling",
        nargs="+",
        choices=POOLINGS,
        default=POOLINGS,
        help="cls: the CLS token; mean: of the patches; time: the patches averaged over frequency,"
        " and over time to --steps steps, one after the other (default: all)",
    )
    parser.add_argument(
        "--steps", type=whole_number(1), default=8, help="of time (default: %(default)s)"
    )
    parser.add_argument(
        "--layers",
        type=layers,
        default="last",
        help="last; all or numbers of blocks from 1 such as 3,6,9, each for itself; mean of all"
        " (default: %(default)s)",
    )
    add_encoder_arguments(parser)


def _add_classifier_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=METHODS, help="(default: both)"
    )
    parser.add_argument(
        "--regularisation",
        type=number(1e-9, float("inf")),
        default=0.1,
        metavar="C",
        help="of the logistic regression; smaller is stronger (default: %(default)s)",
    )
    parser.add_argument(
        "--neighbours", type=whole_number(1), default=10, help="by cosine (default: %(default)s)"
    )
