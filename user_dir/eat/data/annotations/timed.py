"""List recordings with events, or the annotated parts of them, from tables of events."""

import math
import os
import re
from collections import defaultdict
from itertools import pairwise
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from eat.audio.finding import find_audio
from eat.work import Failure

from ..events import format_seconds
from ..split import Clip, read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set
from . import EventConfig
from .audioset import Segment, match_files
from .event_tables import find_tables, name_of_recording, read_events_of
from .folder import DRAWN, label_clips, split_clips
from .matching import FileNames
from .table import Row, match_rows, split_by_top

_MIN_SECONDS = 0.025  # of a clip: one frame of a spectrogram
_MIN_EVENT_SECONDS = 1e-6  # what files of events can hold
_CUT = DRAWN[:2]  # splits of which parts are listed with `cut_seconds`
_SEGMENT = re.compile("(.{11})_([0-9]+)")  # AudioSet's: a YouTube id and a start in ms


def list_events(
    tables: Sequence[str],
    audio: str,
    out: str,
    config: Optional[EventConfig] = None,
    force: bool = False,
    num_workers: int = 16,
) -> Listing:
    """Write a data set of the events in tables, as clips with labels or as recordings with events.

    Args:
        tables: files, or folders of them; see `eat.data.annotations.event_tables`.
        audio: the folder of the recordings; becomes the root of the manifests.
        out, force, num_workers: see `eat.data.annotations`.
        config: how to read the tables and what to list; None: the parts as clips.
    """
    config = EventConfig() if config is None else config
    config.check()
    names = [config.split] if config.split else list(DRAWN)
    left_out_file = unreadable_file(config.split)
    refuse_to_replace(out, names, left_out_file, force)
    scan = find_audio(audio, config.extensions, required=True)
    files = FileNames(os.path.abspath(audio), scan.paths)
    judge = _Judge(config)
    matched = match_rows(judge.read(find_tables(tables), files, scan.paths), files)
    for row, path in matched.rows:
        judge.rows_of[path].append(row)
    paths = [path for path in scan.paths if path in judge.rows_of]
    split_of = split_by_top(paths) if config.splits_from == "top" else matched.splits
    split_of = dict.fromkeys(paths, config.split) if config.split else split_of
    names += sorted({*split_of.values()} - {*names})
    refuse_to_replace(out, names, None, force)

    recordings, left_out = read_headers(scan.root, paths, num_workers)
    parts = [part for recording in recordings for part in judge.find_parts(recording)]
    classes, parts = label_clips(parts, judge.names_of, config, out)
    parts_of: Dict[str, List[Clip]] = defaultdict(list)
    for part in parts:
        parts_of[part.path.rpartition("/")[0]].append(part)
    if config.listed_as == "clips":
        recordings = [one for one in recordings if one.path in parts_of]
    recordings = [_with_classes(one, parts_of.get(one.path, ())) for one in recordings]
    splits = dict.fromkeys(names, ()) | split_clips(recordings, split_of, classes, config)
    for name, of_split in splits.items():
        seconds = config.cut_seconds if name in _CUT else None
        if config.listed_as == "clips":
            splits[name] = [part for one in of_split for part in parts_of[one.path]]
        else:
            splits[name] = [
                c for one in of_split for c in _cut(one, parts_of.get(one.path, ()), seconds)
            ]
    left_out += judge.left_out + matched.left_out + scan.left_out
    root = os.path.abspath(scan.root)
    listing = write_data_set(out, root, splits, classes, left_out, left_out_file, force)
    listing.notes += [
        f"{len(paths)} of {len(scan.paths)} recordings are in the tables; others are not listed",
        *judge.notes,
        *matched.notes,
    ]
    listing.warnings += matched.warnings
    return listing


class _Judge:
    """Decides which events are used, and notes why others are not."""

    def __init__(self, config: EventConfig) -> None:
        self._config = config
        self.rows_of: Dict[str, List[Row]] = defaultdict(list)  # by recording
        self.names_of: Dict[str, List[str]] = defaultdict(list)  # labels by the address of a part
        self.left_out: List[Failure] = []
        self._beyond: List[Tuple[float, str]] = []  # seconds after the end, and where it says so

    def read(self, tables: Iterable[str], files: FileNames, paths: Sequence[str]) -> List[Row]:
        """The rows of tables, with names of recordings as `files` has them."""
        rows: List[Row] = []
        for table in tables:
            found = [*read_events_of(table, self._config.columns, self._config.encoding)]
            if any(not row.clip for row in found):
                name = name_of_recording(table, files)
                if name is None:
                    reason = "no recording is called so, and no column names any (--clip-column)"
                    self.left_out.append(Failure(table, reason))
                    continue
                found = [row._replace(clip=name) for row in found]
            rows += found
        segments = {}
        for match in filter(None, map(_SEGMENT.fullmatch, {row.clip for row in rows})):
            if not files.find(match[0]):
                segments[match[1]] = Segment(int(match[2]) / 1000, (), 0)
        found = match_files(segments, paths) if segments else {}
        known = {f"{i}_{1000 * segments[i].start_seconds:.0f}": path for i, path in found.items()}
        return [row._replace(clip=known.get(row.clip, row.clip)) for row in rows]

    def find_parts(self, recording: Clip) -> List[Clip]:
        """The parts of a recording that are annotated, each once."""
        parts: Dict[str, Clip] = {}
        for row in self.rows_of[recording.path]:
            if row.times is not None:
                start, stop = (round(seconds, 6) for seconds in row.times)
                seconds = recording.num_samples / recording.sample_rate_hz
                problem = self._find_problem(row, start, stop, recording)
                if problem is not None:
                    self.left_out.append(Failure(recording.path, f"{problem} ({row.location})"))
                    continue
                if stop > seconds:
                    self._beyond.append((stop - seconds, row.location))
                part = _part_of(recording, start, min(stop, seconds))
                parts[part.path] = part
                self.names_of[part.path].extend(row.labels)
        return [*parts.values()]

    def _find_problem(self, row: Row, start: float, stop: float, of: Clip) -> Optional[str]:
        """Why an event from start to stop cannot be used; None if it can."""
        seconds = of.num_samples / of.sample_rate_hz
        if not row.labels:
            return "an event without a label"
        found = f"found an event from {start:g} to {stop:g} s, expected one that"
        if start >= stop:
            return f"{found} ends after its start"
        if not 0 <= start < seconds:
            return f"{found} begins inside the {seconds:g} s"
        samples = _part_of(of, start, min(stop, seconds)).num_samples
        if samples < (_MIN_SECONDS * of.sample_rate_hz if self._config.listed_as == "clips" else 1):
            return f"found a part of {stop - start:g} s, expected at least {_MIN_SECONDS:g} s"
        return None

    @property
    def notes(self) -> Iterator[str]:
        """How many events end after their recordings."""
        if self._beyond:
            longest, location = max(self._beyond)
            yield (
                f"{len(self._beyond)} events end after their recordings and are cut there; the one"
                f" that ends latest, by {longest:.3g} s, is in {location}"
            )


def _part_of(recording: Clip, start: float, stop: float) -> Clip:
    """A part of a recording from start to stop, in seconds."""
    address = f"{recording.path}/{format_seconds(start)}-{format_seconds(stop)}"
    first, end = (round(seconds * recording.sample_rate_hz) for seconds in _times_of(address))
    return recording._replace(path=address, num_samples=end - first)


def _times_of(address: str) -> Tuple[float, float]:
    start, stop = map(float, address.rpartition("/")[2].split("-"))
    return start, stop


def _with_classes(clip: Clip, parts: Sequence[Clip]) -> Clip:
    """A clip with the classes of its parts, each once."""
    return clip._replace(labels=tuple(dict.fromkeys(i for part in parts for i in part.labels)))


def _cut(recording: Clip, parts: Sequence[Clip], seconds: Optional[float]) -> Iterator[Clip]:
    """Parts of a recording of some seconds, None: all of it; with the events that are in each."""
    end = recording.num_samples / recording.sample_rate_hz
    seconds = seconds or end + 1
    count = max(1, math.ceil((end - _MIN_SECONDS) / seconds))
    bounds = [*(round(index * seconds, 6) for index in range(count)), end]
    parts_in: List[List[Clip]] = [[] for _ in range(count)]
    for part in parts:
        start, stop = _times_of(part.path)
        for index in range(int(start / seconds), min(int(stop / seconds) + 1, count)):
            parts_in[index].append(part)
    for (begin, end), here in zip(pairwise(bounds), parts_in, strict=True):
        events = []
        for part in here:
            start, stop = _times_of(part.path)
            start, stop = max(start, begin) - begin, min(stop, end) - begin
            if stop - start >= _MIN_EVENT_SECONDS:
                events += [(start, stop, label) for label in part.labels]
        clip = _part_of(recording, begin, end) if count > 1 else recording
        yield clip._replace(labels=(), events=tuple(sorted(events)))
