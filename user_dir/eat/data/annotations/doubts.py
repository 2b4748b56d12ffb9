"""Say when folders or a table look as if they meant something else than what was read."""

import os
import re
from typing import Collection, Iterator, List, Sequence, Tuple

from eat.audio.finding import Scan

from . import Columns
from .matching import normal_form
from .table import Row

# What parts of a data set are called, with anything but letters after it, as in train-clean-100.
_SPLIT = re.compile(
    "(train|training|valid|validation|val|dev|test|testing|eval|evaluation|fold)(?![a-z])", re.I
)


def of_table(rows: Sequence[Row], columns: Columns) -> Iterator[str]:
    """Say if labels hold what may separate labels, and no separator was given."""
    for mark in ";|" if columns.separator is None else "":
        count = sum(any(mark in label for label in row.labels) for row in rows)
        if count:
            yield (
                f"{count} of {len(rows)} cells of the label column hold {mark!r} and are one label"
                f" each: --label-separator '{mark}' takes them apart"
            )


def of_tars(scan: Scan) -> Iterator[str]:
    """Say if there are clips in tars beside other files, which may be the same."""
    num_files = sum(path not in scan.members for path in scan.paths)
    if scan.members and num_files:
        yield (
            f"{len(scan.paths) - num_files} clips are in tars and {num_files} are files of their"
            " own: if the tars were unpacked here, each clip is listed twice"
        )


def of_labels(names: Collection[str]) -> Iterator[str]:
    """Say if labels out of paths look like splits."""
    alike = sorted(filter(_SPLIT.match, names))
    if len(alike) > 1 or (alike and len(alike) == len(names)):
        yield (
            f"the classes {_enumerate(alike)} look like splits: --splits-from top takes splits from"
            " folders, --labels-from regex:PATTERN finds labels elsewhere in the paths"
        )


def note_forms(names: Collection[str]) -> Iterator[str]:
    """Say if labels are taken for others that they are but for blanks and Unicode form."""
    count = len(names) - len({*map(normal_form, names)})
    if count:
        yield f"{count} labels fit others but for blanks around them or their Unicode form"


def of_draw(root: str, paths: Sequence[str]) -> Iterator[str]:
    """Say if splits are drawn from folders that look like splits."""
    names, hint = _find_tops(root, paths)
    alike = [*filter(_SPLIT.match, names)]
    if len(alike) > 1:
        yield (
            f"the folders {_enumerate(alike)} look like splits, and their clips are mixed:"
            f" --splits-from top keeps them apart{hint}"
        )


def of_parents(root: str, paths: Sequence[str], labels: Collection[str]) -> Iterator[str]:
    """Say if labels by the innermost folders might be meant to be the topmost ones."""
    names, hint = _find_tops(root, paths)
    if len(names) > 1 and not {*names} <= {*labels} and not any(map(_SPLIT.match, names)):
        yield (
            "labels are the folders that files are in, not the topmost ones: --labels-from top"
            f" makes the classes {_enumerate(names)}{hint}"
        )


def _find_tops(root: str, paths: Sequence[str]) -> Tuple[List[str], str]:
    """The topmost folders of files that are not common to all of them, and which root has them."""
    folders = {*map(os.path.dirname, paths)}
    common = os.path.commonpath(folders)
    start = len(common) + 1 if common else 0
    names = sorted({folder[start:].partition("/")[0] for folder in folders} - {""})
    return names, f" (when {os.path.join(root, common)} is what is listed)" if common else ""


def _enumerate(names: Sequence[str], limit: int = 10) -> str:
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join([*map(repr, names[:limit]), *more])
