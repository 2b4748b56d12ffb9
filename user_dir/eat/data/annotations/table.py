"""Labels and splits of clips, from the folders that they are in or from a table.

A table is CSV, separated by commas, semicolons or tabs, with a header line. A row names a clip and
one or several labels; several rows of one clip add up.
"""

import csv
import os
from collections import defaultdict
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from eat.work import Failure

from ..labels import clip_spellings
from . import CLIP_COLUMNS, LABEL_COLUMNS, LABELS_COLUMNS, Columns

_DELIMITERS = ",;\t"


class Row(NamedTuple):
    """A line of a table: a clip, its labels and its split."""

    clip: str
    labels: List[str]
    split: Optional[str]
    location: str  # file:line, for messages


class Annotations(NamedTuple):
    """Labels and splits of clips by their paths, and clips that have to be left out."""

    labels: Dict[str, List[str]]
    splits: Dict[str, str]
    left_out: List[Failure]


def label_by_parent(paths: Iterable[str]) -> Annotations:
    """Label each file by the folder that it is in."""
    found = Annotations({}, {}, [])
    for path in paths:
        name = os.path.basename(os.path.dirname(path))
        if name:
            found.labels[path] = [name]
        else:
            found.left_out.append(Failure(path, "in no folder that would be its label"))
    return found


def split_by_top(paths: Iterable[str]) -> Dict[str, str]:
    """Take the topmost folder of each file as its split; a ValueError for a file in no folder."""
    splits = {}
    for path in paths:
        splits[path], slash, _ = path.partition("/")
        if not slash:
            raise ValueError(f"found {path!r}, expected all files in folders named after splits")
    return splits


def annotate(rows: Iterable[Row], root: str, paths: Sequence[str]) -> Annotations:
    """Assign the rows of a table to the clips at paths below the root; leave others out.

    Rows name clips by their path below the root, by an absolute path or by the name of the file
    alone, with or without extension. A ValueError for a name of several files, or two splits of
    one clip.
    """
    labels: Dict[str, List[str]] = {path: [] for path in paths}
    splits: Dict[str, str] = {}
    left_out = []
    paths_of: Dict[str, List[str]] = defaultdict(list)  # that each name may stand for
    for path in paths:
        for name in {*clip_spellings(path)}:
            paths_of[name].append(path)
    paths_of.update((path, [path]) for path in paths)  # a whole path stands for that file alone
    for row in rows:
        name = os.path.relpath(row.clip, root) if os.path.isabs(row.clip) else row.clip
        path, *others = paths_of.get(os.path.normpath(name), [None])
        if path is None:
            left_out.append(Failure(row.clip, f"no such audio file ({row.location})"))
            continue
        if others:
            raise ValueError(
                f"{row.location}: found {row.clip!r}, which {1 + len(others)} files are called"
                f" ({path}, {others[0]}), expected a path below {root}"
            )
        labels[path].extend(row.labels)
        if row.split is not None and splits.setdefault(path, row.split) != row.split:
            raise ValueError(
                f"{row.location}: found the split {row.split!r} of {row.clip!r}, expected"
                f" {splits[path]!r} as in a line before"
            )
    left_out += [Failure(path, "no label") for path, names in labels.items() if not names]
    return Annotations({path: names for path, names in labels.items() if names}, splits, left_out)


def read_table(path: str, columns: Columns) -> Iterator[Row]:
    """Read the rows of a table; a ValueError if it is no table or lacks a column or a cell."""
    # Names of files may hold bytes that are not UTF-8.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        delimiter = max(_DELIMITERS, key=file.readline().count)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            chosen = _choose_columns(path, reader.fieldnames or [], columns)
            for cells in reader:
                yield _read_row(f"{path}:{reader.line_num}", cells, chosen)
        except csv.Error as error:
            line = reader.reader.line_num
            raise ValueError(f"{path}:{line}: {error}, expected CSV") from error


def _choose_columns(path: str, names: Sequence[str], columns: Columns) -> Columns:
    """The columns to read, by the names that they have in the table."""
    clip = _find_column(path, names, columns.clip, CLIP_COLUMNS, "--clip-column")
    known = LABEL_COLUMNS + LABELS_COLUMNS
    label = _find_column(path, names, columns.label, known, "--label-column")
    separator, split = columns.separator, columns.split
    if separator is None:
        separator = "," if label.strip().lower() in LABELS_COLUMNS else ""
    if split is not None:
        split = _find_column(path, names, split, (), "--splits-from")
    return Columns(clip, label, separator, split)


def _find_column(
    path: str, names: Sequence[str], wanted: Optional[str], known: Tuple[str, ...], option: str
) -> str:
    expected = known if wanted is None else (wanted.strip().lower(),)
    found = [name for name in names if name.strip().lower() in expected]
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f"{path}:1: found the columns {', '.join(map(repr, names)) or 'none'}, expected"
        f" {'one' if wanted is None else 'exactly one'} called"
        f" {' or '.join(map(repr, expected))} ({option} names it)"
    )


def _read_row(location: str, cells: Dict[str, Optional[str]], columns: Columns) -> Row:
    for column in (columns.clip, columns.split):
        if column is not None and not (cells[column] or "").strip():
            raise ValueError(f"{location}: found an empty {column!r}, expected one")
    cell = cells[columns.label] or ""
    labels = cell.split(columns.separator) if columns.separator else [cell]
    labels = [label.strip() for label in labels if label.strip()]
    split = cells[columns.split].strip() if columns.split is not None else None
    return Row(cells[columns.clip].strip(), labels, split, location)
