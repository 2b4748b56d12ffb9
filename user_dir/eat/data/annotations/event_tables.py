"""Tables of events: what sounds from when to when in recordings.

They are told apart by their content. An Audacity label track has no header, and its lines are
`start<TAB>end<TAB>label`; lines that begin with a backslash hold frequencies. All others have a
header: Raven's selection tables, AudioSet's strong labels, DCASE's and any CSV, by the names of
their columns. A table without a column of recordings is of one recording, which has its name.
"""

import os
import re
from typing import Iterator, Optional, Sequence, TextIO, Tuple

from . import EVENT_CLIP_COLUMNS, EVENT_LABEL_COLUMNS, OFFSET_COLUMNS, ONSET_COLUMNS, Columns
from .matching import FileNames, normal_form
from .table import Row, check_row, choose_columns, find_column, open_table, read_cells, read_row

_SECONDS = re.compile(r"-?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?")
_TRACK = re.compile(rf"{_SECONDS.pattern}\t{_SECONDS.pattern}(?:\t|\r?$)", re.MULTILINE)
_FILE_OFFSET = "file offset (s)"  # where a selection of Raven begins in its file, of several
_ENDINGS = (".txt", ".tsv", ".csv")


def find_tables(paths: Sequence[str]) -> Iterator[str]:
    """Take the tables in folders, at any depth, in place of these."""
    for path in paths:
        found = [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
        yield from sorted(f for f in found if f.lower().endswith(_ENDINGS)) or [path]


def read_events_of(path: str, columns: Columns, encoding: Optional[str] = None) -> Iterator[Row]:
    """Read the events in a table; a ValueError if it is no table or lacks a column or a cell.

    The clip of a row is "" in a table of one recording. A row without times only says that there is
    a recording.
    """
    with open_table(path, encoding) as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        is_track = not first or _TRACK.match(first)
        rows = _read_track(path, file) if is_track else _read_rows(path, file, columns)
        for row in rows:
            yield check_row(row, encoding)


def name_of_recording(table: str, files: FileNames) -> Optional[str]:
    """What a table's own name calls a recording, beside it or anywhere; None if there is none.

    That of `dawn.Table.1.selections.txt` is `dawn`.
    """
    for name in (os.path.abspath(table), os.path.basename(table)):
        while name != (name := os.path.splitext(name)[0]):
            if files.find(name):
                return name
    return None


def _read_track(path: str, file: TextIO) -> Iterator[Row]:
    yield Row("", [], None, f"{path}:1")  # there is a recording, of whatever events
    for number, line in enumerate(file, start=1):
        line = line.rstrip("\r\n")
        if line.strip() and not line.startswith("\\"):
            cells = [*line.split("\t", 2), "", ""]
            label = cells[2].strip()
            times = _read_times(f"{path}:{number}", cells)
            yield Row("", [label] if label else [], None, f"{path}:{number}", times)


def _read_rows(path: str, file: TextIO, columns: Columns) -> Iterator[Row]:
    rows = read_cells(path, file)
    names, _ = next(rows)
    forms = {normal_form(name).lower(): name for name in names}
    is_of_many = columns.clip is not None or {*forms} & {*EVENT_CLIP_COLUMNS}
    clips = EVENT_CLIP_COLUMNS if is_of_many else ()
    chosen = choose_columns(path, names, columns, clips, EVENT_LABEL_COLUMNS)
    if not is_of_many:
        yield Row("", [], None, f"{path}:1")
    onset = find_column(path, names, columns.onset, ONSET_COLUMNS, "--onset-column")
    offset = find_column(path, names, columns.offset, OFFSET_COLUMNS, "--offset-column")
    for location, cells in rows:
        row = read_row(location, cells, chosen)
        texts = [cells[onset] or "", cells[offset] or ""]
        if row.labels or "".join(texts).strip():
            start, stop = _read_times(location, texts)
            if _FILE_OFFSET in forms:
                first, _ = _read_times(location, [cells[forms[_FILE_OFFSET]] or "", "0"])
                start, stop = first, first + stop - start
            row = row._replace(times=(start, stop))
        yield row


def _read_times(location: str, texts: Sequence[str]) -> Tuple[float, float]:
    for text in texts[:2]:
        if not _SECONDS.fullmatch(text.strip()):
            raise ValueError(f"{location}: found the time {text!r}, expected seconds, as 12.5")
    onset, offset = (float(text.replace(",", ".")) for text in texts[:2])
    return onset, offset
