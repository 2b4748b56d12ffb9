"""Labels and splits as people have them: folders, tables, published data sets.

Each source has one call that writes manifests and label files to the folder `out` and returns an
`eat.data.writing.Listing`. What these calls have in common: `force` replaces files of an earlier
run, `num_workers` threads read headers. They raise a FileExistsError if `out` has such files, a
FileNotFoundError if an input is missing, and a ValueError if an input is bad or no clip is usable.
"""

from dataclasses import dataclass
from functools import partial
from typing import List, NamedTuple, Optional

from eat.audio.finding import EXTENSIONS
from eat.lazy import export
from eat.settings import setting

# Names of columns, in any case, that are looked for if no name is given.
CLIP_COLUMNS = (
    *("path", "filepath", "file_path", "file", "filename", "file_name", "fname"),
    *("clip", "audio", "audio_file", "wav"),
)
LABEL_COLUMNS = ("label", "class", "category", "tag")  # a cell is one label
LABELS_COLUMNS = ("labels", "classes", "categories", "tags")  # separated by commas
VALID_FRACTION = 0.05


class Columns(NamedTuple):
    """Which columns of a table to read."""

    clip: Optional[str] = None  # None: the one with a known name
    label: Optional[str] = None  # likewise
    separator: Optional[str] = None  # of labels; "": a cell is one label; None: by the column
    split: Optional[str] = None  # None: the table has no splits


def _check_source(alone: str, named: str, text: str) -> str:
    """Return a source of labels or splits as it is, or raise a ValueError if it is impossible."""
    if text != alone and (not text.startswith(named) or text == named):
        raise ValueError(f"found {text!r}, expected {alone}, or {named} and a name")
    return text


_check_labels_from = partial(_check_source, "parent", "csv:")
_check_splits_from = partial(_check_source, "top", "column:")


@dataclass(kw_only=True)
class FolderConfig:
    """Which files of a folder to list, and where their labels and splits come from."""

    extensions: List[str] = setting(
        "file name extensions to look for, in any case", EXTENSIONS, metavar="EXT"
    )
    labels_from: Optional[str] = setting(
        "where labels come from. parent: the folder that a file is in is its label; csv:FILE: a"
        " table with a header line and a row for each file, or for each of its labels",
        None,
        metavar="parent|csv:FILE",
        parse=_check_labels_from,
    )
    clip_column: Optional[str] = setting(
        "column of the table with the names of files. Not given: the one called"
        f" {' or '.join(CLIP_COLUMNS)}",
        None,
        metavar="NAME",
    )
    label_column: Optional[str] = setting(
        f"column of the table with the labels. Not given: {' or '.join(LABEL_COLUMNS)} for one"
        f" label, {' or '.join(LABELS_COLUMNS)} for several with commas between them",
        None,
        metavar="NAME",
    )
    label_separator: Optional[str] = setting(
        "what separates the labels in a cell of the table; an empty text: a cell is one label",
        None,
        metavar="TEXT",
    )
    descriptors: Optional[str] = setting(
        "a label_descriptors.csv with the classes and their order. Not given: all labels that were"
        " found, in alphabetical order",
        None,
        metavar="FILE",
    )
    valid_fraction: Optional[float] = setting(
        "share of the clips drawn at random for valid.tsv: at least one clip if there are two, and"
        f" with 0 no valid.tsv. Not given: {VALID_FRACTION}, or 0 with --splits-from or --split",
        None,
        at_least=0,
        below=1,
        metavar="SHARE",
    )
    eval_fraction: float = setting(
        "share of the clips drawn at random for eval.tsv", 0.0, at_least=0, below=1, metavar="SHARE"
    )
    seed: int = setting("seed of the draw of valid.tsv and eval.tsv", 1, at_least=0)
    splits_from: Optional[str] = setting(
        "take the splits as they are. top: from the topmost folders below DIR (train/..., test/...)"
        "; column:NAME: from a column of the table. Shares, if given, are drawn from train",
        None,
        metavar="top|column:NAME",
        parse=_check_splits_from,
    )
    split: Optional[str] = setting(
        "list all clips in NAME.tsv; their labels must then be among the classes that OUT has",
        None,
        metavar="NAME",
    )

    @property
    def table(self) -> Optional[str]:
        """The file of the table."""
        return (self.labels_from or "").partition(":")[2] or None

    @property
    def columns(self) -> Columns:
        """The columns of the table."""
        split = (self.splits_from or "").partition(":")[2] or None
        return Columns(self.clip_column, self.label_column, self.label_separator, split)

    @property
    def fractions(self) -> List[float]:
        """The shares of valid and eval."""
        is_given = self.splits_from or self.split
        valid = 0.0 if is_given else VALID_FRACTION
        return [valid if self.valid_fraction is None else self.valid_fraction, self.eval_fraction]

    def check(self) -> None:
        """Refuse settings that are impossible or do not go together."""
        if self.labels_from is not None:
            _check_labels_from(self.labels_from)
        if self.splits_from is not None:
            _check_splits_from(self.splits_from)
        options = ("clip-column", "label-column", "label-separator", "splits-from column:NAME")
        for option, value in zip(options, self.columns, strict=True):
            if value is not None and self.table is None:
                raise ValueError(f"--{option}: found no table, expected --labels-from csv:FILE")
        if self.descriptors is not None and self.labels_from is None:
            raise ValueError("--descriptors: found no labels, expected --labels-from")
        if self.split is not None and (self.splits_from or any(self.fractions)):
            other = "--splits-from" if self.splits_from else "a share for another split"
            raise ValueError(f"--split: found {other} too, expected one or the other")
        if sum(self.fractions) >= 1:
            raise ValueError(
                f"--valid-fraction and --eval-fraction: found {sum(self.fractions):g} together,"
                " expected less than 1"
            )


__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "list_audioset": "audioset",
        "list_esc50": "esc50",
        "list_folder": "folder",
        "list_speech_commands": "speech_commands",
    },
)
__all__ += ["FolderConfig"]
