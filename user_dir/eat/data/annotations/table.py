"""Labels and splits of clips, from the folders that they are in or from a table.

A table is CSV, separated by commas, semicolons or tabs, with a header line. A row names a clip and
one or several labels; several rows of one clip add up.
"""

import codecs
import csv
import re
from collections import defaultdict
from contextlib import contextmanager
from typing import IO, Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from eat.work import Failure

from ..labels import NOT_TEXT, check_name
from . import CLIP_COLUMNS, LABEL_COLUMNS, LABELS_COLUMNS, MORE_COLUMNS, Columns
from .matching import FileNames, normal_form

_DELIMITERS = ",;\t"
_ALSO = {"--clip-column": MORE_COLUMNS[:3], "--label-column": MORE_COLUMNS[3:]}
_FOLDERS = {"parent": r"([^/]+)/[^/]*\Z", "top": "^([^/]+)/"}


class Row(NamedTuple):
    """A line of a table: a clip, its labels and its split."""

    clip: str
    labels: List[str]
    split: Optional[str]
    location: str  # file:line, for messages
    times: Optional[Tuple[float, float]] = None  # of an event: onset and offset in seconds


class Annotations(NamedTuple):
    """Labels and splits of clips by their paths, and clips that have to be left out."""

    labels: Dict[str, List[str]]
    splits: Dict[str, str]
    left_out: List[Failure]
    notes: Sequence[str] = ()  # what else was found
    warnings: Sequence[str] = ()  # likewise, and worth a look
    rows: Optional[Dict[str, List[Row]]] = None  # of a table, by the paths of clips


def label_by_path(paths: Iterable[str], source: str) -> Annotations:
    """Label each file by its path.

    The source is "parent", the folder that a file is in; "top", its topmost folder; or
    "regex:PATTERN", what each of the pattern's parentheses (or without any, all of it) matches in
    the path, anywhere.
    """
    given = source.partition(":")[2]
    pattern = re.compile(given or _FOLDERS[source])
    missing = f"no match of {given!r}" if given else "in no folder that would be its label"
    found = Annotations({}, {}, [])
    for path in paths:
        match = pattern.search(path)
        names = [name for name in match.groups() or [match[0]] if name] if match else []
        if names:
            found.labels[path] = names
        else:
            found.left_out.append(Failure(path, missing))
    return found


def split_by_top(paths: Iterable[str]) -> Dict[str, str]:
    """Take the topmost folder of each file as its split; a ValueError for a file in no folder."""
    splits = {}
    for path in paths:
        splits[path], slash, _ = path.partition("/")
        if not slash:
            raise ValueError(
                f"--splits-from top: found {path!r}, expected all files in folders named after"
                " splits"
            )
    return splits


def annotate(rows: Iterable[Row], root: str, paths: Sequence[str]) -> Annotations:
    """Assign the rows of a table to the clips at paths below the root; leave others out.

    How rows name clips is said at `FileNames`. A ValueError for a name of several files, or two
    splits of one clip.
    """
    found = Annotations(defaultdict(list), {}, [], rows=defaultdict(list))
    near = []
    files = FileNames(root, paths)
    for row in rows:
        path, *others = files.find(row.clip) or [None]
        if path is None:
            _refuse_bytes(row.location, row.clip)
            reason, alike = f"no such audio file ({row.location})", files.find_near(row.clip)
            if alike is not None:
                reason += f"; there is {alike!r}"
                near.append(f"{row.clip!r} ({row.location}): there is {alike!r}")
            found.left_out.append(Failure(row.clip, reason))
            continue
        if others:
            raise ValueError(
                f"{row.location}: found {row.clip!r}, which {1 + len(others)} files are called"
                f" ({path}, {others[0]}), expected a path below {root}"
            )
        found.rows[path].append(row)
        if row.labels:
            found.labels[path].extend(row.labels)
        if row.split is not None and found.splits.setdefault(path, row.split) != row.split:
            raise ValueError(
                f"{row.location}: found the split {row.split!r} of {row.clip!r}, expected"
                f" {found.splits[path]!r} as in a line before"
            )
    warnings = [
        f"{len(near)} rows are not used because case or slashes differ, e.g. {first}"
        for first in near[:1]
    ]
    return found._replace(notes=[*files.notes], warnings=warnings)


def read_table(path: str, columns: Columns, encoding: Optional[str] = None) -> Iterator[Row]:
    """Read the rows of a table; a ValueError if it is no table or lacks a column or a cell.

    Without an encoding a table is UTF-8; names of files may then hold other bytes, as on disks.
    """
    with open_table(path, encoding) as file:
        rows = read_cells(path, file)
        names, _ = next(rows)
        chosen = choose_columns(path, names, columns)
        for location, cells in rows:
            yield read_row(location, cells, chosen, encoding)


@contextmanager
def open_table(path: str, encoding: Optional[str] = None) -> Iterator[IO[str]]:
    """Open a table as text; a ValueError if it is not in its encoding."""
    codec = codecs.lookup(encoding or "utf-8").name
    codec = "utf-8-sig" if codec == "utf-8" else codec  # a byte order mark does not matter
    try:
        with open(path, encoding=codec, errors="surrogateescape", newline="") as file:
            yield file
    except UnicodeError as error:
        raise ValueError(f"{path}: not {encoding}: {error}") from error


def read_cells(path: str, file: IO[str]) -> Iterator[Tuple[Any, Dict[Optional[str], Any]]]:
    """Yield the names of columns with {}, then the place `file:line` of each row with its cells."""
    delimiter = max(_DELIMITERS, key=file.readline().count)
    file.seek(0)
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    try:
        yield list(reader.fieldnames or ()), {}
        for cells in reader:
            yield f"{path}:{reader.line_num}", cells
    except csv.Error as error:
        line = reader.reader.line_num
        raise ValueError(f"{path}:{line}: {error}, expected CSV") from error


def _refuse_bytes(location: str, *texts: str, encoding: Optional[str] = None) -> None:
    """Raise a ValueError if texts hold bytes that the encoding of a table does not have."""
    found = NOT_TEXT.search("".join(texts))
    if found:
        byte = ord(found[0]) - 0xDC00
        example = "utf-16" if byte in (0xFE, 0xFF) else "latin-1"  # its mark begins with one
        raise ValueError(
            f"{location}: not {encoding or 'UTF-8'} (byte {byte:#x}), expected UTF-8, or for"
            f" `eat manifest` --encoding with its name, e.g. {example}"
        )


def choose_columns(
    path: str, names: Sequence[str], columns: Columns, needs_clip: bool = True
) -> Columns:
    """The columns to read, by the names that they have in the table."""
    clip = find_column(path, names, columns.clip, CLIP_COLUMNS, "--clip-column", needs_clip)
    known = LABEL_COLUMNS + LABELS_COLUMNS
    label = find_column(path, names, columns.label, known, "--label-column")
    separator, split = columns.separator, columns.split
    if separator is None:
        separator = "," if label.strip().lower() in LABELS_COLUMNS else ""
    if split is not None:
        split = find_column(path, names, split, (), "--splits-from")
    return Columns(clip, label, separator, split)


def find_column(
    path: str,
    names: Sequence[str],
    wanted: Optional[str],
    known: Tuple[str, ...],
    option: str,
    is_needed: bool = True,
) -> Optional[str]:
    """The name of the column that is `wanted`, or None: of one with a `known` name."""
    expected = known if wanted is None else (normal_form(wanted).lower(),)
    also = _ALSO.get(option, ()) if wanted is None else ()
    found = [name for name in names if normal_form(name).lower() in expected]
    found = found or [name for name in names if normal_form(name).lower() in also]
    if not found and wanted is None and not is_needed:
        return None
    if len(found) == 1:
        return found[0]
    _refuse_bytes(f"{path}:1", *names)
    raise ValueError(
        f"{path}:1: found the columns {', '.join(map(repr, names)) or 'none'}, expected"
        f" {'one' if wanted is None else 'exactly one'} called"
        f" {' or '.join(map(repr, expected))} ({option} names it)"
    )


def read_row(
    location: str, cells: Dict[Optional[str], Any], columns: Columns, encoding: Optional[str]
) -> Row:
    """The clip (with no column for it, ""), labels and split in the cells of a row."""
    if "".join(cells.get(None, ())).strip():
        raise ValueError(
            f"{location}: found more cells than the header has, expected quotes around a cell that"
            f" holds what separates cells ({cells[None][0]!r} is too much)"
        )
    for column in (columns.clip, columns.split):
        if column is not None and not (cells[column] or "").strip():
            raise ValueError(f"{location}: found an empty {column!r}, expected one")
    cell = cells[columns.label] or ""
    labels = cell.split(columns.separator) if columns.separator else [cell]
    labels = [label.strip() for label in labels if label.strip()]
    split = cells[columns.split].strip() if columns.split is not None else None
    clip = cells[columns.clip] if columns.clip is not None else ""
    texts = (*labels, split or "", clip if encoding else "")
    _refuse_bytes(location, *texts, encoding=encoding)
    for label in labels:
        check_name(label, f"{location}: ")
    return Row(clip, labels, split, location)
