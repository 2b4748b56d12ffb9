"""`eat manifest audioset`: list the clips of an AudioSet segment list that are there as files."""

import argparse
import csv
import os
import re
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from eat.audio.finding import EXTENSIONS, find_audio, nothing_found
from eat.data.headers import read_headers
from eat.data.labels import Label, read_descriptors
from eat.work import Failure

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

HELP = "list the clips of an AudioSet segment list that are there as files"

DESCRIPTION = """\
List the clips of one of the published segment lists (balanced_train_segments.csv,
unbalanced_train_segments.csv, eval_segments.csv) whose audio is below a folder, at any depth, with
their labels: OUT/NAME.tsv, OUT/NAME.lbl and OUT/label_descriptors.csv. The files are called by the
YouTube id of the clip, in any format: ID.wav, YID.wav, ID_30.000.wav, ID_30_40.wav or
ID_30000.flac (the start in seconds or milliseconds). Clips without a readable file are listed in
OUT/NAME.unreadable.tsv; the exit status is then 1. Run it once for each list, with the same OUT.
"""

_EXPECTED = 'expected YTID, start_seconds, end_seconds, "label,label"'
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TIME = re.compile(rf"(.+)[_-]({_NUMBER.pattern})")  # what may follow the id in a file's name
_MAX_TIMES = 2  # the start, and the end


class Segment(NamedTuple):
    """A line of a segment list."""

    start_seconds: float
    ids: Sequence[str]  # of its labels
    line: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest audioset`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "--segments", required=True, metavar="FILE", help="e.g. balanced_train_segments.csv"
    )
    parser.add_argument(
        "--labels", required=True, metavar="FILE", help="the published class_labels_indices.csv"
    )
    parser.add_argument(
        "--audio", required=True, metavar="DIR", help="the folder; becomes the manifest's root"
    )
    parser.add_argument(
        "--split", default="train", metavar="NAME", help="write NAME.tsv (default: %(default)s)"
    )
    add_output_arguments(parser, "manifests/as20k")


def run(args: argparse.Namespace) -> int:
    """Write the manifest of a segment list; 1 if clips had to be left out."""
    unreadable = unreadable_file(args.split)
    check_output(args.out, [*split_files([args.split]), unreadable], args.force)
    descriptors = read_descriptors(args.labels)
    segments = read_segments(args.segments, descriptors, args.labels)
    scan = find_audio(args.audio)
    if not scan.paths:
        raise ValueError(nothing_found(args.audio, EXTENSIONS, scan))

    paths = match_files(segments, scan.paths)
    missing = [
        Failure(name, f"no audio file ({args.segments}:{segment.line})")
        for name, segment in segments.items()
        if name not in paths
    ]
    clips, left_out = read_headers(args.audio, list(paths.values()), args.workers)
    left_out += scan.left_out + missing
    write_left_out(args.out, left_out, unreadable)
    if not clips:
        raise ValueError(
            f"{args.audio}: found no readable file of {len(segments)} clips of {args.segments};"
            f" the reasons are in {os.path.join(args.out, unreadable)}"
        )
    ids = {path: segments[name].ids for name, path in paths.items()}
    splits, labels = {args.split: clips}, ClipLabels(descriptors, ids)
    write_splits(args.out, os.path.abspath(args.audio), splits, labels, args.force)
    print(f"{len(paths)} of {len(segments)} clips of {args.segments} have an audio file,")
    print(f"{len(scan.paths) - len(paths)} of {len(scan.paths)} audio files belong to none")
    return report(args.out, splits, left_out, unreadable, labels)


def read_segments(
    path: str, descriptors: Sequence[Label], descriptors_file: str
) -> Dict[str, Segment]:
    """Read a published segment list, by the YouTube ids.

    Args:
        path: lines `YTID, start_seconds, end_seconds, "label,label"`, after comments with a #.
        descriptors: the classes.
        descriptors_file: where those were read from, for messages.

    Raises:
        ValueError: a line that is not in the format, a label that is no class, or an id that
            comes twice; naming the line, what was found and what was expected.
    """
    known = {label.id for label in descriptors}
    ids_of: Dict[str, List[str]] = {}  # millions of lines share what is the same in them
    segments: Dict[str, Segment] = {}
    for number, fields in _read_fields(path):
        if len(fields) != 4 or not _NUMBER.fullmatch(fields[1]):
            raise ValueError(f"{path}:{number}: found {', '.join(fields)!r}, {_EXPECTED}")
        name, start, _, field = fields
        if field not in ids_of:
            ids_of[field] = [label_id.strip() for label_id in field.split(",")]
            unknown = [label_id for label_id in ids_of[field] if label_id not in known]
            if unknown:
                raise ValueError(
                    f"{path}:{number}: found the label {unknown[0]!r}, expected an id of"
                    f" {descriptors_file}"
                )
        segment = Segment(float(start), ids_of[field], number)
        if segments.setdefault(name, segment) is not segment:
            raise ValueError(
                f"{path}:{number}: found {name!r} as in line {segments[name].line}, expected each"
                " id once"
            )
    if not segments:
        raise ValueError(f"{path}:1: found no clips, {_EXPECTED} in each line")
    return segments


def match_files(segments: Mapping[str, Segment], paths: Sequence[str]) -> Dict[str, str]:
    """Find the file of each segment by its name.

    Args:
        segments: by their YouTube ids.
        paths: the files. Of several for one segment the first is taken.

    Returns:
        The path of each segment that has a file, in the order of the segments.
    """
    found: Dict[str, str] = {}
    for path in paths:
        name = _find_segment(os.path.splitext(os.path.basename(path))[0], segments)
        if name is not None:
            found.setdefault(name, path)
    return {name: found[name] for name in segments if name in found}


def _find_segment(stem: str, segments: Mapping[str, Segment]) -> Optional[str]:
    """The id in the name of a file, with what surrounds it taken off bit by bit."""
    start: Optional[str] = None
    for _ in range(_MAX_TIMES + 1):
        for name in (stem, stem.removeprefix("Y")):
            if name in segments and (start is None or _is_start(start, segments[name])):
                return name
        match = _TIME.fullmatch(stem)
        if match is None:
            return None
        stem, start = match.groups()
    return None


def _is_start(text: str, segment: Segment) -> bool:
    """Whether a number in the name of a file is when the segment starts: in seconds, or in ms."""
    return float(text) in (segment.start_seconds, 1000 * segment.start_seconds)


def _read_fields(path: str) -> Iterator[Tuple[int, List[str]]]:
    """Number and fields of each line that is not a comment."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            for fields in reader:
                if fields and not fields[0].startswith("#"):
                    yield reader.line_num, fields
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}, {_EXPECTED}") from error
