"""Say when folders or a table look as if they meant something else than what was read."""

import os
import re
from typing import Collection, Iterator, Sequence

from .matching import normal_form
from .table import Columns, Row

# What parts of a data set are called, with anything but letters after it, as in train-clean-100.
_SPLIT = re.compile(
    "(train|training|valid|validation|val|dev|test|testing|eval|evaluation|fold)(?![a-z])", re.I
)


def doubt_table(rows: Sequence[Row], columns: Columns) -> Iterator[str]:
    """Say if labels hold what may separate labels, and no separator was given."""
    for mark in ";|" if columns.separator is None else "":
        count = sum(any(mark in label for label in row.labels) for row in rows)
        if count:
            yield (
                f"{count} of {len(rows)} cells of the label column hold {mark!r} and are one label"
                f" each: --label-separator '{mark}' takes them apart"
            )


def doubt_labels(names: Collection[str]) -> Iterator[str]:
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


class Tops:
    """The topmost folders of files that are not common to all of them."""

    def __init__(self, root: str, paths: Sequence[str]) -> None:
        folders = {*map(os.path.dirname, paths)}
        common = os.path.commonpath(folders)
        start = len(common) + 1 if common else 0
        self.names = sorted({folder[start:].partition("/")[0] for folder in folders} - {""})
        self._hint = f" (when {os.path.join(root, common)} is what is listed)" if common else ""

    def doubt_draw(self) -> Iterator[str]:
        """Say if splits are drawn from folders that look like splits."""
        alike = [*filter(_SPLIT.match, self.names)]
        if len(alike) > 1:
            yield (
                f"the folders {_enumerate(alike)} look like splits, and their clips are mixed:"
                f" --splits-from top keeps them apart{self._hint}"
            )

    def doubt_parents(self, labels: Collection[str]) -> Iterator[str]:
        """Say if labels by the innermost folders might be meant to be the topmost ones."""
        is_other = len(self.names) > 1 and not {*self.names} <= {*labels}
        if is_other and not any(map(_SPLIT.match, self.names)):
            yield (
                "labels are the folders that files are in, not the topmost ones: --labels-from top"
                f" makes the classes {_enumerate(self.names)}{self._hint}"
            )


def _enumerate(names: Sequence[str], limit: int = 10) -> str:
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join([*map(repr, names[:limit]), *more])
