"""List recordings with events, or the annotated parts of them, from tables of events."""

import math
import os
import re
from collections import defaultdict
from functools import partial
from itertools import pairwise
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from eat.audio.finding import find_audio
from eat.audio.ranges import WINDOW_MS
from eat.work import Failure

from ..event_targets import crop_events
from ..events import format_seconds
from ..labels import clip_spellings
from ..split import Clip, read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set
from . import EventConfig
from .audioset import Segment, match_files
from .event_tables import find_tables, name_of_recording, read_events_of
from .folder import DRAWN, choose_classes, choose_splits, split_clips
from .matching import FileNames
from .table import Row, annotate

_MIN_SECONDS = WINDOW_MS / 1000  # of a clip
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
    config = config or EventConfig()
    config.check()
    names = [config.split] if config.split else list(DRAWN)
    left_out_file = unreadable_file(config.split)
    refuse_to_replace(out, names, left_out_file, force)
    scan, root = find_audio(audio, config.extensions, required=True), os.path.abspath(audio)
    rows, left_out = _read_tables(tables, FileNames(root, scan.paths), config)
    found = annotate(_find_segments(rows, scan.paths), root, scan.paths)
    paths = sorted(found.rows)
    split_of = found.splits | choose_splits(paths, config)
    names += sorted({*split_of.values()} - {*names})
    refuse_to_replace(out, names, None, force)

    recordings, unreadable = read_headers(scan.root, paths, num_workers)
    is_of_clips = config.listed_as == "clips"
    judge = _Judge(_MIN_SECONDS * config.speed if is_of_clips else _MIN_EVENT_SECONDS)
    recordings = [judge.add_events(one, found.rows[one.path]) for one in recordings]
    recordings = [one for one in recordings if one.events or not is_of_clips]
    classes, id_of = choose_classes(judge.names_of, config, out)
    for index, one in enumerate(recordings):
        events = {(on, off, id_of[label]) for on, off, label in one.events}
        recordings[index] = one._replace(events=tuple(sorted(events)))
    splits = dict.fromkeys(names, ()) | split_clips(recordings, split_of, classes, config)
    for name, part in splits.items():
        seconds = config.cut_seconds if name in _CUT else None
        make = _list_parts if is_of_clips else partial(_cut, seconds=seconds)
        splits[name] = [clip for recording in part for clip in make(recording)]
    left_out += [*unreadable, *judge.left_out, *found.left_out, *scan.left_out]
    listing = write_data_set(out, root, splits, classes, left_out, left_out_file, force)
    count = f"{len(paths)} of {len(scan.paths)} recordings are in the tables; others are not listed"
    listing.notes += [count, *judge.notes, *found.notes]
    listing.warnings += found.warnings
    return listing


def _read_tables(
    tables: Sequence[str], files: FileNames, config: EventConfig
) -> Tuple[List[Row], List[Failure]]:
    """The rows of tables, and the tables that are of no recording."""
    rows: List[Row] = []
    left_out = []
    for table in find_tables(tables):
        found = [*read_events_of(table, config.columns, config.encoding)]
        if found and not found[0].clip:
            name = name_of_recording(table, files)
            if name is None:
                reason = "no recording is called so, and no column names any (--clip-column)"
                left_out.append(Failure(table, reason))
                continue
            found = [row._replace(clip=name) for row in found]
        rows += found
    return rows, left_out


def _find_segments(rows: Sequence[Row], paths: Sequence[str]) -> List[Row]:
    """The same rows, with the file of each segment of AudioSet that has one as its clip."""
    names = {row.clip for row in rows} - {name for path in paths for name in clip_spellings(path)}
    matches = [match for match in map(_SEGMENT.fullmatch, names) if match]
    segments = {match[1]: Segment(int(match[2]) / 1000, (), 0) for match in matches}
    found = match_files(segments, paths) if segments else {}
    path_of = {f"{i}_{1000 * segments[i].start_seconds:.0f}": path for i, path in found.items()}
    return [row._replace(clip=path_of.get(row.clip, row.clip)) for row in rows]


class _Judge:
    """Decides which events are used, and notes why others are not."""

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds = min_seconds
        self.names_of: Dict[str, List[str]] = {}  # the labels of the rows that are used
        self.left_out: List[Failure] = []
        self._beyond: List[Tuple[float, str]] = []  # seconds after the end, and where it says so

    def add_events(self, recording: Clip, rows: Sequence[Row]) -> Clip:
        """A recording with the events in the rows that can be used, by the names of labels."""
        end = recording.num_samples / recording.sample_rate_hz
        events = []
        for row in rows:
            if row.times is None:
                continue
            start, stop = (round(seconds, 6) for seconds in row.times)
            problem = self._find_problem(row, start, stop, recording)
            if problem is not None:
                self.left_out.append(Failure(recording.path, f"{problem} ({row.location})"))
                continue
            if stop > end:
                self._beyond.append((stop - end, row.location))
            self.names_of[row.location] = row.labels
            events += [(start, min(stop, end), label) for label in row.labels]
        return recording._replace(events=tuple(events))

    def _find_problem(self, row: Row, start: float, stop: float, of: Clip) -> Optional[str]:
        """Why an event of a recording cannot be used; None if it can."""
        end = of.num_samples / of.sample_rate_hz
        found = f"found an event from {start:g} to {stop:g} s, expected one that"
        if not row.labels:
            return "an event without a label"
        if start >= stop:
            return f"{found} ends after its start"
        if not 0 <= start < end:
            return f"{found} begins inside the {end:g} s"
        num_samples = _part_of(of, start, min(stop, end)).num_samples
        if num_samples < self._min_seconds * of.sample_rate_hz:
            return f"{found} has at least {self._min_seconds:g} s"
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
    """A part of a recording from start to stop, in seconds, without events."""
    span = [format_seconds(start), format_seconds(stop)]
    first, end = (round(float(seconds) * recording.sample_rate_hz) for seconds in span)
    path = f"{recording.path}/{'-'.join(span)}"
    return recording._replace(path=path, num_samples=end - first, events=None)


def _list_parts(recording: Clip) -> List[Clip]:
    """The parts of a recording that have events, with their classes as labels."""
    labels_of: Dict[Tuple[float, float], List[str]] = defaultdict(list)
    for start, stop, label in recording.events:
        labels_of[start, stop].append(label)
    parts = labels_of.items()
    return [_part_of(recording, *span)._replace(labels=tuple(labels)) for span, labels in parts]


def _cut(recording: Clip, seconds: Optional[float]) -> Iterator[Clip]:
    """Parts of a recording of some seconds, None: all of it; with the events that are in each."""
    end = recording.num_samples / recording.sample_rate_hz
    count = max(1, math.ceil((end - _MIN_SECONDS) / seconds)) if seconds else 1
    if seconds is None or count == 1:
        yield recording
        return
    events_in: List[List[Tuple[float, float, str]]] = [[] for _ in range(count)]
    for event in recording.events:
        first, last = (min(int(time / seconds), count - 1) for time in event[:2])
        for index in range(first, last + 1):
            events_in[index].append(event)
    bounds = [*(round(index * seconds, 6) for index in range(count)), end]
    for (begin, stop), events in zip(pairwise(bounds), events_in, strict=True):
        inside = crop_events(events, begin, stop - begin)
        inside = (e for e in inside if e.offset - e.onset >= _MIN_EVENT_SECONDS)
        yield _part_of(recording, begin, stop)._replace(events=tuple(inside))
