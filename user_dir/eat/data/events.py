"""Events: what sounds when in the clips of a manifest.

`{split}.events.tsv` stands beside the manifest `{split}.tsv`, in the columns of DCASE:

    filename<TAB>onset<TAB>offset<TAB>event_label
    dawn/interview 1.wav<TAB>0.35<TAB>1.2<TAB>/m/09x0r
    dawn/interview 1.wav<TAB>0.9<TAB>1.7<TAB>/m/05zppz

The clip is written as in the manifest. Onset and offset are seconds from the clip's own start, in
real seconds of the recording. The label is the id of a class of `label_descriptors.csv`, or a name
that only one class has. Lines come in any order; events may overlap. A clip without a line has no
events, and neither has one whose line has three empty cells.
"""

import math
import os
import sys
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np

from eat.files import FilePath, replace_file

from .labels import DESCRIPTORS_FILE, Label, LabelError, LabelTable, index_labels, read_lines
from .manifest import Manifest, quote

HEADER = "filename\tonset\toffset\tevent_label"
_EXPECTED_LINE = "expected filename<TAB>onset<TAB>offset<TAB>event_label"
_NONE: List["Event"] = []  # the events of all clips that have none


class Event(NamedTuple):
    """A class that sounds for a while."""

    onset: float  # seconds from the start of the clip
    offset: float
    label: int  # index of its class


class EventTable(LabelTable):
    """The class of each event of each clip, by onset, and its time.

    `times` (n, 2) float64 are onset and offset in seconds, of all events in the order of `indices`.
    """

    _what = "events"

    def __init__(
        self, offsets: np.ndarray, times: np.ndarray, indices: np.ndarray, num_classes: int
    ) -> None:
        super().__init__(offsets, indices, num_classes)
        self._times = times

    @classmethod
    def join(cls, tables: Sequence["EventTable"]) -> "EventTable":
        """The events of the clips of several tables, one after the other."""
        joined, times = LabelTable.join(tables), np.concatenate([table._times for table in tables])
        return cls(joined._offsets, times, joined._indices, joined.num_classes)

    def events(self, clip: int) -> List[Event]:
        """The events of a clip, sorted by onset."""
        classes = self.classes(clip).tolist()
        times = self._times[self._offsets[clip] : self._offsets[clip + 1]].tolist()
        return [Event(*span, label) for span, label in zip(times, classes, strict=True)]


def read_events(
    path: FilePath,
    manifest: Manifest,
    descriptors: Sequence[Label],
    descriptors_file: FilePath = DESCRIPTORS_FILE,
) -> EventTable:
    """Read the events of a manifest's clips; messages name `descriptors_file`.

    A LabelError names the line of an event of another clip or class, or of impossible times.
    """
    path = os.fspath(path)
    index_of = index_labels(descriptors)
    found: Dict[str, List[Event]] = dict.fromkeys(manifest.relative_paths(), _NONE)
    made_by = "`eat manifest events TABLE --audio DIR --as time --out OUT` makes them"
    lines = read_lines(path, f"events: {path} ({made_by})", sys.getfilesystemencoding())
    number = 1
    try:
        if next(lines, "") != HEADER:
            raise LabelError(f"found no header, {_EXPECTED_LINE}")
        for number, line in enumerate(lines, start=2):
            clip, *cells = line.rsplit("\t", 3)
            if len(cells) != 3:
                raise LabelError(f"found {quote(line)}, {_EXPECTED_LINE}")
            if clip not in found:
                raise LabelError(f"found the clip {quote(clip)}, expected one of {manifest.file}")
            if any(cells):
                found[clip] = [] if found[clip] is _NONE else found[clip]
                found[clip].append(_read_event(*cells, index_of, descriptors_file))
    except LabelError as error:
        raise LabelError(f"{path}:{number}: {error}") from None
    events = [sorted(found[clip]) for clip in manifest.relative_paths()]
    starts = np.cumsum([0, *map(len, events)])
    rows = np.array([event for of_clip in events for event in of_clip]).reshape(-1, 3)
    return EventTable(starts, rows[:, :2], rows[:, 2].astype(np.int32), len(descriptors))


def write_events(path: FilePath, entries: Iterable[Tuple[str, float, float, str]]) -> int:
    """Write events; an existing file is replaced at the end.

    Takes for each event the path of its clip as the manifest has it, its onset and offset in
    seconds, and the id of its class; returns the number of events. Times are rounded to 1 µs.
    """
    count = 0
    with replace_file(path) as file:
        file.write(f"{HEADER}\n".encode())
        for clip, onset, offset, label_id in entries:
            times = format_seconds(onset), format_seconds(offset)
            check_times(*map(float, times))
            if not clip or not label_id or set("\r\n") & {*clip} or set("\t\r\n") & {*label_id}:
                found = f"found the clip {quote(clip)} with the class {quote(label_id)}"
                raise LabelError(f"{found}, expected names without line breaks and tabs")
            file.write(os.fsencode("\t".join((clip, *times, label_id)) + "\n"))
            count += 1
    return count


def format_seconds(seconds: float) -> str:
    """Seconds with a decimal point, to the microsecond: 12.5."""
    return np.format_float_positional(seconds, precision=6, trim="0")


def check_times(onset: float, offset: float) -> None:
    """Raise a LabelError for times that no event can have."""
    if not 0 <= onset < offset < math.inf:
        raise LabelError(
            f"found an event from {onset:g} to {offset:g} s, expected one that ends after its start"
        )


def _read_event(
    onset: str, offset: str, label: str, index_of: Dict[str, int], descriptors_file: FilePath
) -> Event:
    try:
        times = float(onset), float(offset)
    except ValueError:
        found = f"found the times {quote(onset)} and {quote(offset)}"
        raise LabelError(f"{found}, expected seconds") from None
    check_times(*times)
    if label not in index_of:
        expected = f"expected an id of {os.fspath(descriptors_file)} (or a name of one class)"
        raise LabelError(f"found the label {quote(label)}, {expected}")
    return Event(*times, index_of[label])
