"""`eat manifest folder`: list the audio files below a folder."""

import argparse
import os
import sys
from collections import defaultdict
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from ...data.labels import (
    DESCRIPTORS_FILE,
    index_labels,
    make_descriptors,
    read_descriptors,
)
from ...data.splitting import draw_parts, draw_stratified_parts
from ..arguments import number, whole_number
from .annotations import (
    CLIP_COLUMNS,
    LABEL_COLUMNS,
    LABELS_COLUMNS,
    Annotations,
    Columns,
    annotate,
    label_by_parent,
    read_table,
    split_by_top,
)
from .clips import (
    EXTENSIONS,
    Clip,
    count_extensions,
    find_audio,
    nothing_found,
    read_headers,
)
from .output import (
    ClipLabels,
    add_output_arguments,
    check_output,
    report,
    split_files,
    unreadable_file,
    write_left_out,
    write_splits,
)

HELP = "list the audio files below a folder"

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
        "--clip-column", help=f"of the table: names of files (default: {' '.join(CLIP_COLUMNS)})"
    )
    group.add_argument(
        "--label-column",
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
        f" two, and with 0 no valid.tsv (default: {VALID_FRACTION})",
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


def run(args: argparse.Namespace) -> int:
    """Write the manifests of a folder; 1 if files had to be left out."""
    _check_usage(args)
    names = [args.split] if args.split else list(DRAWN)
    unreadable = unreadable_file(args.split)
    check_output(args.out, [*split_files(names), unreadable], args.force)
    scan = find_audio(args.folder, args.extensions)
    if not scan.paths:
        raise ValueError(nothing_found(args.folder, args.extensions, scan))
    notes = _annotate(args, scan.paths)
    names += sorted({*notes.splits.values()} - {*names})
    check_output(args.out, split_files(names), args.force)

    paths = [path for path in scan.paths if args.labels_from is None or path in notes.labels]
    clips, left_out = read_headers(args.folder, paths, args.workers)
    left_out += notes.left_out + scan.left_out
    if not clips:
        write_left_out(args.out, left_out, unreadable)
        raise ValueError(
            f"{args.folder}: none of {len(scan.paths)} audio files is usable; the reasons are in"
            f" {os.path.join(args.out, unreadable)}"
        )
    labels = _label(args, clips, notes) if args.labels_from else None
    splits = dict.fromkeys(names, ()) | _split(args, clips, notes, labels)
    write_splits(args.out, os.path.abspath(args.folder), splits, labels, args.force)
    write_left_out(args.out, left_out, unreadable)
    if scan.other_extensions:
        print(f"not looked at: {count_extensions(scan.other_extensions)}", file=sys.stderr)
    return report(args.out, splits, left_out, unreadable, labels)


def _check_usage(args: argparse.Namespace) -> None:
    if not os.path.isdir(args.folder):
        raise FileNotFoundError(f"{args.folder}: no such folder, expected one with audio files")
    needs_table = {
        "--clip-column": args.clip_column,
        "--label-column": args.label_column,
        "--label-separator": args.label_separator,
        "--splits-from column:NAME": _name_of(args.splits_from, COLUMN),
    }
    for option, value in needs_table.items():
        if value is not None and _name_of(args.labels_from, TABLE) is None:
            raise ValueError(f"{option}: found no table, expected --labels-from csv:FILE")
    if args.descriptors is not None and args.labels_from is None:
        raise ValueError("--descriptors: found no labels, expected --labels-from")
    if args.split is not None and (args.valid_fraction or args.eval_fraction):
        raise ValueError("--split: found a share for another split too, expected one or the other")
    if sum(_fractions(args)) >= 1:
        raise ValueError(
            f"--valid-fraction and --eval-fraction: found {sum(_fractions(args)):g} together,"
            " expected less than 1"
        )


def _annotate(args: argparse.Namespace, paths: Sequence[str]) -> Annotations:
    """What the names of folders or a table tell of the files."""
    table, split = _name_of(args.labels_from, TABLE), _name_of(args.splits_from, COLUMN)
    if table is not None:
        columns = Columns(args.clip_column, args.label_column, args.label_separator, split)
        notes = annotate(read_table(table, columns), os.path.abspath(args.folder), paths)
    else:
        notes = label_by_parent(paths) if args.labels_from else Annotations({}, {}, [])
    if args.splits_from == Source(TOP, ""):
        notes.splits.update(split_by_top(paths))
    return notes


def _label(args: argparse.Namespace, clips: Sequence[Clip], notes: Annotations) -> ClipLabels:
    """The classes, given or all that the clips have, and the ids of each clip's."""
    existing = os.path.join(args.out, DESCRIPTORS_FILE)
    given = args.descriptors or (existing if args.split and os.path.exists(existing) else None)
    if given is None:
        descriptors = make_descriptors(name for clip in clips for name in notes.labels[clip.path])
    else:
        descriptors = read_descriptors(given)
    index_of = index_labels(descriptors)
    ids = {}
    for clip in clips:
        names = dict.fromkeys(notes.labels[clip.path])  # each once
        unknown = [name for name in names if name not in index_of]
        if unknown:
            raise ValueError(
                f"{clip.path}: found the label {unknown[0]!r}, expected one of {given}"
            )
        ids[clip.path] = [descriptors[index_of[name]].id for name in names]
    return ClipLabels(descriptors, ids)


def _split(
    args: argparse.Namespace, clips: List[Clip], notes: Annotations, labels: Optional[ClipLabels]
) -> Dict[str, List[Clip]]:
    """The clips of each split: those of the options, and what is drawn from train."""
    if args.split is not None:
        return {args.split: clips}
    splits = defaultdict(list)
    for clip in clips:
        splits[notes.splits.get(clip.path, DRAWN[0])].append(clip)
    clips = splits.pop(DRAWN[0], [])
    for clip, part in zip(clips, _draw(args, clips, labels), strict=True):
        splits[DRAWN[part]].append(clip)
    return splits


def _draw(
    args: argparse.Namespace, clips: List[Clip], labels: Optional[ClipLabels]
) -> Sequence[int]:
    """Which of the splits that can be drawn each clip goes to."""
    if labels is None or not clips:
        return draw_parts(len(clips), _fractions(args), args.seed)
    index_of = {label.id: label.index for label in labels.descriptors}
    classes = [[index_of[label_id] for label_id in labels.ids[clip.path]] for clip in clips]
    return draw_stratified_parts(classes, _fractions(args), args.seed)


def _fractions(args: argparse.Namespace) -> List[float]:
    """The shares of valid and eval."""
    valid = args.valid_fraction
    if valid is None:
        valid = VALID_FRACTION if args.splits_from is None else 0.0
    return [valid, args.eval_fraction]


def _name_of(source: Optional[Source], kind: str) -> Optional[str]:
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
