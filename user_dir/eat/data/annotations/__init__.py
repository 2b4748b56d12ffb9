"""Labels, events and splits as people have them: folders, tables, published data sets.

Each source has one call that writes manifests and label files to the folder `out` and returns an
`eat.data.writing.Listing`. What these calls have in common: `force` replaces files of an earlier
run, `num_workers` threads read headers. They raise a FileExistsError if `out` has such files, a
FileNotFoundError if an input is missing, and a ValueError if an input is bad or no clip is usable.
"""

import re
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
# Looked for if there is none of these: what tables of events also call them.
MORE_COLUMNS = ("segment_id", "begin file", "recording", "event_label", "annotation", "species")
ONSET_COLUMNS = (
    *("onset", "start_time_seconds", "begin time (s)", "start", "start_time", "start (s)"),
    *("start_s", "begin", "begin_time"),
)
OFFSET_COLUMNS = (
    *("offset", "end_time_seconds", "end time (s)", "end", "end_time", "end (s)", "end_s", "stop"),
)
VALID_FRACTION = 0.05


class Columns(NamedTuple):
    """Which columns of a table to read."""

    clip: Optional[str] = None  # None: the one with a known name
    label: Optional[str] = None  # likewise
    separator: Optional[str] = None  # of labels; "": a cell is one label; None: by the column
    split: Optional[str] = None  # None: the table has no splits
    onset: Optional[str] = None  # of a table of events; None: the one with a known name
    offset: Optional[str] = None  # likewise


_LABEL_SOURCES = "parent|top|csv:FILE|regex:PATTERN|cls|txt|json:FIELD"
_SPLIT_SOURCES = "top|column:NAME"


def _check_source(sources: str, text: str) -> str:
    """Return a source of labels or splits as it is, or raise a ValueError if it is impossible."""
    if not re.fullmatch(re.sub("[A-Z]+", ".+", sources), text, re.DOTALL):
        others, _, last = sources.rpartition("|")
        raise ValueError(f"found {text!r}, expected {others.replace('|', ', ')} or {last}")
    if text.startswith("regex:"):
        try:
            re.compile(text.removeprefix("regex:"))
        except re.error as error:
            raise ValueError(f"found {text!r}, no regular expression: {error}") from error
    return text


_check_labels_from = partial(_check_source, _LABEL_SOURCES)
_check_splits_from = partial(_check_source, _SPLIT_SOURCES)


def _check_encoding(name: str) -> str:
    try:
        "x".encode(name)
    except LookupError:
        raise ValueError(f"found {name!r}, expected an encoding such as latin-1") from None
    return name


@dataclass(kw_only=True)
class ListingConfig:
    """Which files of a folder to list, how to read a table about them, and what splits to make."""

    extensions: List[str] = setting(
        "file name extensions to look for, in any case", EXTENSIONS, metavar="EXT"
    )
    clip_column: Optional[str] = setting(
        "column of the table with the names of files. Not given: the one called"
        f" {' or '.join(CLIP_COLUMNS)}; or else {', '.join(MORE_COLUMNS[:3])}",
        None,
        metavar="NAME",
    )
    label_column: Optional[str] = setting(
        f"column of the table with the labels. Not given: {' or '.join(LABEL_COLUMNS)} for one"
        f" label, {' or '.join(LABELS_COLUMNS)} for several with commas between them; or else"
        f" {', '.join(MORE_COLUMNS[3:])}",
        None,
        metavar="NAME",
    )
    label_separator: Optional[str] = setting(
        "what separates the labels in a cell of the table; an empty text: a cell is one label",
        None,
        metavar="TEXT",
    )
    encoding: Optional[str] = setting(
        "encoding of the table, such as latin-1 or utf-16. Not given: UTF-8",
        None,
        metavar="NAME",
        parse=_check_encoding,
    )
    descriptors: Optional[str] = setting(
        "a label_descriptors.csv with the classes and their order, or lines id<TAB>name as in"
        " AudioSet's mid_to_display_name.tsv. Not given: all labels that were found, in"
        " alphabetical order",
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
        metavar=_SPLIT_SOURCES,
        parse=_check_splits_from,
    )
    split: Optional[str] = setting(
        "list all clips in NAME.tsv; their labels must then be among the classes that OUT has",
        None,
        metavar="NAME",
    )

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
        if self.splits_from is not None:
            _check_splits_from(self.splits_from)
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.split is not None and (self.splits_from or any(self.fractions)):
            other = "--splits-from" if self.splits_from else "a share for another split"
            raise ValueError(f"--split: found {other} too, expected one or the other")
        if not 0 <= min(self.fractions) <= sum(self.fractions) < 1:
            shares = " and ".join(f"{share:g}" for share in self.fractions)
            raise ValueError(
                f"--valid-fraction and --eval-fraction: found {shares}, expected 0 or more, and"
                " less than 1 together"
            )


@dataclass(kw_only=True)
class FolderConfig(ListingConfig):
    """Which files of a folder to list, and where their labels and splits come from."""

    labels_from: Optional[str] = setting(
        "where labels come from. parent: the folder that a file is in is its label; top: its"
        " topmost folder below DIR; csv:FILE: a table with a header line and a row for each file,"
        " or for each of its labels; regex:PATTERN: what each of the pattern's parentheses matches"
        " in the path below DIR; cls, txt: the lines of the file KEY.cls or KEY.txt beside KEY.wav,"
        " as in tars of webdataset; json:FIELD: a field of KEY.json",
        None,
        metavar=_LABEL_SOURCES,
        parse=_check_labels_from,
    )

    @property
    def table(self) -> Optional[str]:
        """The file of the table."""
        kind, _, file = (self.labels_from or "").partition(":")
        return file if kind == "csv" else None

    def check(self) -> None:
        """Refuse settings that are impossible or do not go together."""
        if self.labels_from is not None:
            _check_labels_from(self.labels_from)
        options = ("clip-column", "label-column", "label-separator", "splits-from column:NAME")
        given = zip((*options, "encoding"), (*self.columns[:4], self.encoding), strict=True)
        for option, value in given:
            if value is not None and self.table is None:
                raise ValueError(f"--{option}: found no table, expected --labels-from csv:FILE")
        if self.descriptors is not None and self.labels_from is None:
            raise ValueError("--descriptors: found no labels, expected --labels-from")
        super().check()


@dataclass(kw_only=True)
class EventConfig(ListingConfig):
    """How to read tables of events, and what to list of them."""

    listed_as: str = setting(
        "clips: each annotated part of a recording is a clip with its label; time: recordings keep"
        " their events, for training with task.labels=time",
        "clips",
        choices=("clips", "time"),
        flag="as",
    )
    cut_seconds: Optional[float] = setting(
        "with --as time, list parts of this length of the recordings for train and valid, with"
        " their events. Not given: whole recordings",
        None,
        at_least=0.1,
        metavar="SECONDS",
    )
    speed: float = setting(
        "how fast recordings will be played for the network, the setting task.speed: with --as"
        " clips, parts are left out that are then shorter than 25 ms",
        1.0,
        at_least=0.001,
    )
    onset_column: Optional[str] = setting(
        f"column with the starts of events, in seconds. Not given: {' or '.join(ONSET_COLUMNS)}",
        None,
        metavar="NAME",
    )
    offset_column: Optional[str] = setting(
        f"column with the ends of events, in seconds. Not given: {' or '.join(OFFSET_COLUMNS)}",
        None,
        metavar="NAME",
    )

    @property
    def columns(self) -> Columns:
        """The columns of the tables."""
        times = {"onset": self.onset_column, "offset": self.offset_column}
        return super().columns._replace(**times)

    def check(self) -> None:
        """Refuse settings that are impossible or do not go together."""
        if self.listed_as not in ("clips", "time"):
            raise ValueError(f"--as: found {self.listed_as!r}, expected clips or time")
        if self.cut_seconds is not None and self.listed_as != "time":
            raise ValueError("--cut-seconds: found --as clips, expected --as time")
        super().check()


_EXPORTS = {
    "audioset": ("list_audioset",),
    "esc50": ("list_esc50",),
    "folder": ("list_folder",),
    "speech_commands": ("list_speech_commands",),
    "timed": ("list_events",),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
__all__ += ["EventConfig", "FolderConfig"]
