"""Tables of events: what sounds from when to when in recordings.

They are told apart by their content. An Audacity label track has no header, and its lines are
`start<TAB>end<TAB>label`; lines that begin with a backslash hold frequencies. All others have a
header: Raven's selection tables, AudioSet's strong labels, DCASE's and any CSV, by the names of
their columns. A table without a column of recordings is of one recording, which has its name.
"""

import os
import re
from typing import Any, Iterator, Optional, Sequence, TextIO, Tuple

from . import OFFSET_COLUMNS, ONSET_COLUMNS, Columns
from .matching import FileNames, normal_form
from .table import Row, choose_columns, find_column, open_table, read_cells, read_row

_SECONDS = re.compile(r"\s*-?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
_TRACK = re.compile(rf"{_SECONDS.pattern}\t{_SECONDS.pattern}(?:\t|$)")
_TRACK_COLUMNS = ("onset", "offset", "label")
_FILE_OFFSET = "file offset (s)"  # where a selection of Raven begins in its file, of several
_ENDINGS = (".txt", ".tsv", ".csv")


def find_tables(paths: Sequence[str]) -> Iterator[str]:
    """Take the tables in folders, at any depth, in place of these."""
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(f"no such table: {path}")
        found = [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
        found = sorted(file for file in found if file.lower().endswith(_ENDINGS))
        if os.path.isdir(path) and not found:
            raise FileNotFoundError(f"{path}: found no table ({', '.join(_ENDINGS)}) below it")
        yield from found or [path]


def name_of_recording(table: str, files: FileNames) -> Optional[str]:
    """What a table's own name calls a recording, beside it or anywhere; None if there is none.

    That of `dawn.Table.1.selections.txt` is `dawn`.
    """
    for name in (os.path.abspath(table), os.path.basename(table)):
        while name != (name := os.path.splitext(name)[0]):
            if files.find(name):
                return name
    return None


def read_events_of(path: str, columns: Columns, encoding: Optional[str] = None) -> Iterator[Row]:
    """Read the events in a table; a ValueError if it is no table or lacks a column or a cell.

    The clip of a row is "" in a table of one recording. A row without times only says that there is
    a recording.
    """
    with open_table(path, encoding) as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        rows = read_cells(path, file)
        if not first or _TRACK.match(first):
            rows = _read_track(path, file)
            columns = Columns(None, "label", columns.separator)
        names, _ = next(rows)
        forms = {normal_form(name).lower(): name for name in names}
        chosen = choose_columns(path, names, columns, needs_clip=False)
        if chosen.clip is None:
            yield Row("", [], None, f"{path}:1")
        onset = find_column(path, names, columns.onset, ONSET_COLUMNS, "--onset-column")
        offset = find_column(path, names, columns.offset, OFFSET_COLUMNS, "--offset-column")
        for location, cells in rows:
            row = read_row(location, cells, chosen, encoding)
            times = [cells[onset] or "", cells[offset] or ""]
            if row.labels or "".join(times).strip():
                start, stop = (_read_seconds(location, text) for text in times)
                if _FILE_OFFSET in forms:
                    begin = _read_seconds(location, cells[forms[_FILE_OFFSET]] or "")
                    start, stop = begin, begin + stop - start
                row = row._replace(times=(start, stop))
            yield row


def _read_track(path: str, file: TextIO) -> Iterator[Tuple[Any, Any]]:
    """The lines of a label track as `read_cells` yields those of other tables."""
    yield _TRACK_COLUMNS, {}
    for number, line in enumerate(file, start=1):
        line = line.rstrip("\r\n")
        if line.strip() and not line.startswith("\\"):
            cells = [*line.split("\t", 2), "", ""]
            yield f"{path}:{number}", dict(zip(_TRACK_COLUMNS, cells, strict=False))


def _read_seconds(location: str, text: str) -> float:
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"{location}: found the time {text!r}, expected seconds, as 12.5")
    return float(text.replace(",", "."))
