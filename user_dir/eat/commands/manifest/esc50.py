"""`eat manifest esc50`: list the clips of ESC-50 for its five-fold cross-validation."""

import argparse
import os
from typing import Dict, List

from eat.data.annotations.table import Columns, read_table
from eat.data.headers import Clip, read_headers
from eat.data.labels import Label

from .output import (
    ClipLabels,
    add_output_arguments,
    check_output,
    compare_counts,
    report,
    split_files,
    unreadable_file,
    write_left_out,
    write_splits,
)

HELP = "list the clips of ESC-50 for its five-fold cross-validation"

DESCRIPTION = """\
List the clips of ESC-50 as published (DIR/meta/esc50.csv, DIR/audio) with their labels. OUT/fold1
to OUT/fold5 each hold a data set: valid is the fold of that number, train the other four. Clips
without a readable file are listed in OUT/unreadable.tsv; the exit status is then 1.
"""

META_FILE = os.path.join("meta", "esc50.csv")
CLIP, LABEL, INDEX, FOLD = "filename", "category", "target", "fold"  # its columns
PUBLISHED = (2000, 50, 5)  # clips, classes, folds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest esc50`."""
    parser.description = DESCRIPTION
    parser.add_argument("folder", metavar="DIR", help="the unpacked ESC-50, e.g. ESC-50-master")
    add_output_arguments(parser, "manifests/esc50")


def run(args: argparse.Namespace) -> int:
    """Write the manifests of the folds; 1 if clips had to be left out."""
    meta_file = os.path.join(args.folder, META_FILE)
    if not os.path.exists(meta_file):
        raise FileNotFoundError(f"{meta_file}: no such file, expected ESC-50 as it was published")
    rows = list(read_table(meta_file, Columns(CLIP, LABEL, separator="", split=FOLD)))
    descriptors = read_classes(meta_file)
    fold_of = {row.clip: row.split for row in rows}
    folds = sorted({*fold_of.values()})
    for fold in folds:
        check_output(_folder(args.out, fold), split_files(("train", "valid")), args.force)

    audio = os.path.join(os.path.abspath(args.folder), "audio")
    clips, left_out = read_headers(audio, list(fold_of), args.workers)
    write_left_out(args.out, left_out, unreadable_file())
    if not clips:
        raise ValueError(f"{audio}: found no readable file of the {len(rows)} in {meta_file}")
    labels = ClipLabels(descriptors, {row.clip: row.labels for row in rows})
    all_splits: Dict[str, List[Clip]] = {}
    for fold in folds:
        train = [clip for clip in clips if fold_of[clip.path] != fold]
        valid = [clip for clip in clips if fold_of[clip.path] == fold]
        splits = {"train": train, "valid": valid}
        write_splits(_folder(args.out, fold), audio, splits, labels, args.force)
        all_splits.update((_folder("", fold) + f"/{name}", part) for name, part in splits.items())
    compare_counts("clips / classes / folds", (len(clips), len(descriptors), len(folds)), PUBLISHED)
    return report(args.out, all_splits, left_out, unreadable_file(), labels)


def read_classes(meta_file: str) -> List[Label]:
    """Read the classes of the published table, in its order of the targets.

    Raises:
        ValueError: a target that is no number or has two names.
    """
    names = read_table(meta_file, Columns(CLIP, LABEL, separator=""))
    indices = read_table(meta_file, Columns(CLIP, INDEX, separator=""))
    name_of: Dict[int, str] = {}
    for row, name in zip(indices, names, strict=True):
        if not (row.labels and name.labels and row.labels[0].isdecimal()):
            raise ValueError(f"{row.location}: expected a number as {INDEX} and a name as {LABEL}")
        index = int(row.labels[0])
        if name_of.setdefault(index, name.labels[0]) != name.labels[0]:
            raise ValueError(
                f"{row.location}: found {INDEX} {index} of {name.labels[0]!r}, expected"
                f" {name_of[index]!r} as in a line before"
            )
    return [Label(index, name, name) for index, name in sorted(name_of.items())]


def _folder(out: str, fold: str) -> str:
    return os.path.join(out, f"fold{fold}")
