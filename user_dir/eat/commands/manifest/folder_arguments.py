"""The arguments of `eat manifest folder`, and which of them go together."""

import argparse
from typing import Callable, List, NamedTuple, Optional

from eat.audio.finding import EXTENSIONS
from eat.data.annotations.table import CLIP_COLUMNS, LABEL_COLUMNS, LABELS_COLUMNS

from ..arguments import number, whole_number
from .output import add_output_arguments

DESCRIPTION = """\
List the audio files below a folder, at any depth, in OUT/train.tsv and OUT/valid.tsv. Only their
headers are read. Files that are not readable as audio or hold no samples are left out and listed
with the reason in OUT/unreadable.tsv; the exit status is then 1. Links to folders are followed,
and each folder is listed once. The same files, fractions and seed give the same manifests.
With --labels-from the labels are written too, to OUT/train.lbl, OUT/valid.lbl and
OUT/label_descriptors.csv, and each class has its share in each split.
"""

DRAWN = ("train", "valid", "eval")
VALID_FRACTION = 0.05
PARENT, TABLE = "parent", "csv"  # where labels come from
TOP, COLUMN = "top", "column"  # where splits come from


class Source(NamedTuple):
    """Where labels or splits come from: the kind, and the file or column if it takes one."""

    kind: str
    name: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest folder`."""
    parser.description = DESCRIPTION
    parser.add_argument("folder", metavar="DIR", help="the folder; becomes the manifests' root")
    add_output_arguments(parser, "manifests/mine")
    parser.add_argument(
        "--extensions",
        nargs="+",
        metavar="EXT",
        default=EXTENSIONS,
        help=f"file name endings to look for, in any case (default: {' '.join(EXTENSIONS)})",
    )
    _add_label_arguments(parser.add_argument_group("labels"))
    _add_split_arguments(parser.add_argument_group("splits"))


def _add_label_arguments(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--labels-from",
        type=_source(PARENT, TABLE),
        metavar="parent|csv:FILE",
        help="parent: the folder that a file is in is its label; csv: a table with a header line"
        " and a row for each file, or for each of its labels",
    )
    group.add_argument(
        "--clip-column",
        metavar="NAME",
        help=f"of the table: names of files (default: {' '.join(CLIP_COLUMNS)})",
    )
    group.add_argument(
        "--label-column",
        metavar="NAME",
        help=f"of the table: one label (default: {' '.join(LABEL_COLUMNS)}), or several separated"
        f" by commas ({' '.join(LABELS_COLUMNS)})",
    )
    group.add_argument(
        "--label-separator",
        metavar="TEXT",
        help="what separates the labels in a cell; an empty text: a cell is one label",
    )
    group.add_argument(
        "--descriptors",
        metavar="FILE",
        help="a label_descriptors.csv with the classes and their order (default: all labels that"
        " were found, in alphabetical order)",
    )


def _add_split_arguments(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--valid-fraction",
        type=number(0, 1),
        metavar="SHARE",
        help="share of the clips drawn at random for valid.tsv; at least one clip if there are"
        f" two, and with 0 no valid.tsv (default: {VALID_FRACTION}, with --splits-from none)",
    )
    group.add_argument(
        "--eval-fraction",
        type=number(0, 1),
        default=0.0,
        metavar="SHARE",
        help="share of the clips drawn for eval.tsv in the same way (default: none)",
    )
    group.add_argument(
        "--seed", type=whole_number(0), default=1, help="of that draw (default: %(default)s)"
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--splits-from",
        type=_source(TOP, COLUMN),
        metavar="top|column:NAME",
        help="take the splits as they are: from the topmost folders below DIR (train/..., test/...)"
        " or from a column of the table. Shares, if given, are drawn from train",
    )
    where.add_argument(
        "--split",
        metavar="NAME",
        help="list all clips in NAME.tsv; its labels are then among the classes that OUT has",
    )


def check_usage(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    needs_table = {
        "--clip-column": args.clip_column,
        "--label-column": args.label_column,
        "--label-separator": args.label_separator,
        "--splits-from column:NAME": name_of(args.splits_from, COLUMN),
    }
    for option, value in needs_table.items():
        if value is not None and name_of(args.labels_from, TABLE) is None:
            raise ValueError(f"{option}: found no table, expected --labels-from csv:FILE")
    if args.descriptors is not None and args.labels_from is None:
        raise ValueError("--descriptors: found no labels, expected --labels-from")
    if args.split is not None and (args.valid_fraction or args.eval_fraction):
        raise ValueError("--split: found a share for another split too, expected one or the other")
    if sum(fractions(args)) >= 1:
        raise ValueError(
            f"--valid-fraction and --eval-fraction: found {sum(fractions(args)):g} together,"
            " expected less than 1"
        )


def fractions(args: argparse.Namespace) -> List[float]:
    """The shares of valid and eval."""
    valid = args.valid_fraction
    if valid is None:
        valid = VALID_FRACTION if args.splits_from is None else 0.0
    return [valid, args.eval_fraction]


def name_of(source: Optional[Source], kind: str) -> Optional[str]:
    """The file or column of a source of this kind."""
    return source.name if source is not None and source.kind == kind else None


def _source(alone: str, named: str) -> Callable[[str], Source]:
    """The type of an argument that is a word, or another word and a name: `named:NAME`."""

    def parse(text: str) -> Source:
        kind, _, name = text.partition(":")
        if text != alone and (kind != named or not name):
            raise argparse.ArgumentTypeError(
                f"found {text!r}, expected {alone}, or {named}: and a name"
            )
        return Source(kind, name)

    return parse
