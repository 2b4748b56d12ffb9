"""`eat manifest folder`: list the audio files below a folder."""

import argparse
import os
import sys
from collections import defaultdict
from typing import Dict, List, Optional, Sequence

from eat.audio.finding import count_extensions, find_audio, nothing_found
from eat.data.annotations.table import (
    Annotations,
    Columns,
    annotate,
    label_by_parent,
    read_table,
    split_by_top,
)
from eat.data.headers import Clip, read_headers
from eat.data.labels import DESCRIPTORS_FILE, index_labels, make_descriptors, read_descriptors
from eat.data.sampling import draw_parts, draw_stratified_parts

from .folder_arguments import (
    COLUMN,
    DRAWN,
    TABLE,
    TOP,
    Source,
    add_arguments,
    check_usage,
    fractions,
    name_of,
)
from .output import (
    ClipLabels,
    check_output,
    report,
    split_files,
    unreadable_file,
    write_left_out,
    write_splits,
)

__all__ = ["HELP", "add_arguments", "run"]

HELP = "list the audio files below a folder"


def run(args: argparse.Namespace) -> int:
    """Write the manifests of a folder; 1 if files had to be left out."""
    check_usage(args)
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


def _annotate(args: argparse.Namespace, paths: Sequence[str]) -> Annotations:
    """What the names of folders or a table tell of the files."""
    table, split = name_of(args.labels_from, TABLE), name_of(args.splits_from, COLUMN)
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
        return draw_parts(len(clips), fractions(args), args.seed)
    index_of = {label.id: label.index for label in labels.descriptors}
    classes = [[index_of[label_id] for label_id in labels.ids[clip.path]] for clip in clips]
    return draw_stratified_parts(classes, fractions(args), args.seed)
