"""List the clips of a published AudioSet segment list whose audio is there as files."""

import csv
import os
import re
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from eat.audio.finding import find_audio
from eat.work import Failure

from ..labels import Label, read_descriptors
from ..split import read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set

_EXPECTED = 'expected YTID, start_seconds, end_seconds, "label,label"'
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TIME = re.compile(rf"(.+)[_-]({_NUMBER.pattern})")  # what may follow the id in a file's name


class Segment(NamedTuple):
    """A line of a segment list."""

    start_seconds: float
    labels: Tuple[str, ...]  # ids of its classes
    line: int


def list_audioset(
    segments: str,
    labels: str,
    audio: str,
    out: str,
    split: str = "train",
    force: bool = False,
    num_workers: int = 16,
) -> Listing:
    """Write the manifest and labels of the clips of a segment list that are there as files.

    Args:
        segments: a published list, such as balanced_train_segments.csv.
        labels: the published class_labels_indices.csv.
        audio: the folder of the files, which are found by the YouTube id in their names.
        split: the name of the manifest; all lists of a data set have the same `out`.
        out, force, num_workers: see `eat.data.annotations`.
    """
    left_out_file = unreadable_file(split)
    refuse_to_replace(out, [split], left_out_file, force)
    descriptors = read_descriptors(labels)
    listed = read_segments(segments, descriptors, labels)
    scan = find_audio(audio, required=True)

    paths = match_files(listed, scan.paths)
    missing = [
        Failure(name, f"no audio file ({segments}:{segment.line})")
        for name, segment in listed.items()
        if name not in paths
    ]
    clips, left_out = read_headers(audio, list(paths.values()), num_workers)
    left_out += scan.left_out + missing
    labels_of = {path: listed[name].labels for name, path in paths.items()}
    splits = {split: [clip._replace(labels=labels_of[clip.path]) for clip in clips]}
    root = os.path.abspath(audio)
    listing = write_data_set(out, root, splits, descriptors, left_out, left_out_file, force)
    listing.notes += [
        f"{len(paths)} of {len(listed)} clips of {segments} have an audio file,",
        f"{len(scan.paths) - len(paths)} of {len(scan.paths)} audio files are not used",
    ]
    listing.note_rest(scan)
    return listing


def read_segments(
    path: str, descriptors: Sequence[Label], descriptors_file: str
) -> Dict[str, Segment]:
    """Read a published segment list; returns its segments by their YouTube ids.

    Lines are `YTID, start_seconds, end_seconds, "label,label"`, after comments with a #. A
    ValueError names a bad line, a label that is no class or an id that comes twice.
    """
    known = {label.id for label in descriptors}
    labels_of: Dict[str, Tuple[str, ...]] = {}  # millions of lines share few different fields
    segments: Dict[str, Segment] = {}
    for number, fields in _read_fields(path):
        if len(fields) != 4 or not _NUMBER.fullmatch(fields[1]):
            raise ValueError(f"{path}:{number}: found {', '.join(fields)!r}, {_EXPECTED}")
        name, start, _, field = fields
        if field not in labels_of:
            labels_of[field] = tuple(label.strip() for label in field.split(","))
            for label in labels_of[field]:
                if label not in known:
                    expected = f"expected an id of {descriptors_file}"
                    raise ValueError(f"{path}:{number}: found the label {label!r}, {expected}")
        segment = Segment(float(start), labels_of[field], number)
        if segments.setdefault(name, segment) is not segment:
            found = f"found {name!r} as in line {segments[name].line}"
            raise ValueError(f"{path}:{number}: {found}, expected each id once")
    if not segments:
        raise ValueError(f"{path}:1: found no clips, {_EXPECTED} in each line")
    return segments


def match_files(segments: Mapping[str, Segment], paths: Sequence[str]) -> Dict[str, str]:
    """The file of each segment that has one, by its name; of several files the first counts."""
    found: Dict[str, str] = {}
    for path in paths:
        name = _find_segment(os.path.splitext(os.path.basename(path))[0], segments)
        if name is not None:
            found.setdefault(name, path)
    return {name: found[name] for name in segments if name in found}


def _find_segment(stem: str, segments: Mapping[str, Segment]) -> Optional[str]:
    """The id in the name of a file, after removing up to two times, start and end, from its end."""
    start: Optional[float] = None
    for _ in range(3):
        for name in (stem, stem.removeprefix("Y")):
            segment = segments.get(name)
            if segment and start in (None, segment.start_seconds, 1000 * segment.start_seconds):
                return name
        match = _TIME.fullmatch(stem)
        if match is None:
            return None
        stem, start = match[1], float(match[2])  # in seconds or ms
    return None


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
