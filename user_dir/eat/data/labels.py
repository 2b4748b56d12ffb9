"""Labels: which classes the clips of a manifest belong to.

`{split}.lbl` stands beside the manifest `{split}.tsv` and has one line per clip, in the same order:

    speech/interview 1.wav<TAB>/m/09x0r,/m/05zppz
    hello.flac<TAB>/m/09x0r

The last tab of a line separates clip and labels; in a line without a tab the last space does, as
the reference code allows. The clip is written as in the manifest, with or without its folders and
its extension. A label is the id of a class, or its name if no other class has that id or name.

`label_descriptors.csv` lists the C classes in the order of a classifier's outputs, as CSV with an
optional header line:

    0,/m/09x0r,"Speech"
    1,/m/05zppz,"Male speech, man speaking"
"""

import csv
import os
import re
import sys
import unicodedata
from array import array
from collections import Counter
from contextlib import contextmanager
from functools import cache, partial
from itertools import zip_longest
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from eat.files import FilePath, guard_first, replace_file

from .manifest import Manifest, quote

DESCRIPTORS_FILE = "label_descriptors.csv"

_EXPECTED_LINE = "expected clip<TAB>label[,label...]"
_HEADER = re.compile(r'\s*"?index"?\s*(?:,|$)', re.IGNORECASE)
_CONTROL = re.compile("[\0-\x1f\x7f]")  # line breaks and tabs among them
NOT_TEXT = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are not UTF-8


class LabelError(ValueError):
    """Labels are not in the format; the message is `file:line: found ..., expected ...`."""


class Label(NamedTuple):
    """A class of a data set."""

    index: int  # its place among a classifier's outputs
    id: str  # what label files call it
    name: str  # what people call it


class LabelTable:
    """The classes of each clip, as two arrays that forked workers share.

    Those of clip i are `indices[offsets[i] : offsets[i + 1]]`, int32; `offsets` (N+1,) are int64.
    """

    _what = "labels"  # for messages

    def __init__(self, offsets: np.ndarray, indices: np.ndarray, num_classes: int) -> None:
        self.num_classes = num_classes
        self._offsets, self._indices = offsets, indices
        offsets.flags.writeable = indices.flags.writeable = False

    @classmethod
    def join(cls, tables: Sequence["LabelTable"]) -> "LabelTable":
        """The classes of the clips of several tables, one after the other."""
        if len(tables) == 1:
            return tables[0]
        offsets = np.cumsum(np.concatenate([[0], *(np.diff(table._offsets) for table in tables)]))
        indices = np.concatenate([table._indices for table in tables])
        return cls(offsets, indices, tables[0].num_classes)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def classes(self, clip: int) -> np.ndarray:
        """(n,) int32, the classes of a clip, each once, in the order of its line."""
        if not 0 <= clip < len(self):
            raise IndexError(f"{self._what} of clip {clip} of {len(self)}")
        return self._indices[self._offsets[clip] : self._offsets[clip + 1]]

    def targets(self, clip: int) -> np.ndarray:
        """(C,) float32: 1 at the classes of a clip, 0 elsewhere."""
        targets = np.zeros(self.num_classes, dtype=np.float32)
        targets[self.classes(clip)] = 1
        return targets

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64, the number of clips of each class."""
        return np.bincount(self._indices, minlength=self.num_classes)

    def sum_per_clip(self, values: np.ndarray) -> np.ndarray:
        """(N,) float64: the sum of `values` (C,) over the classes of each clip."""
        clips = np.repeat(np.arange(len(self)), np.diff(self._offsets))
        return np.bincount(clips, weights=values[self._indices], minlength=len(self))

    @property
    def is_single_label(self) -> bool:
        """Whether every clip has exactly one class."""
        return bool((np.diff(self._offsets) == 1).all())


def read_descriptors(path: FilePath) -> List[Label]:
    """Read the classes of a data set, in the order of a classifier's outputs."""
    path = os.fspath(path)
    labels: Dict[str, Label] = {}
    for number, line in enumerate(
        read_lines(path, f"label descriptors: {path} {_how_to_make(path)}"), start=1
    ):
        if number > 1 or not _HEADER.match(line):
            with _located(f"{path}:{number}"):
                _add_label(labels, *_split_descriptor(line))
    if not labels:
        raise LabelError(
            f'{path}:1: found no classes, expected a line index,id,"name" for each of them'
        )
    return list(labels.values())


def write_descriptors(path: FilePath, labels: Sequence[Label]) -> None:
    """Write classes that `read_descriptors` reads back; an existing file is replaced at the end."""
    checked: Dict[str, Label] = {}
    with _located(path), replace_file(path) as file:
        for index, label_id, name in labels:
            _add_label(checked, str(index), label_id, name)
            quoted_id, quoted_name = ('"{}"'.format(t.replace('"', '""')) for t in (label_id, name))
            # The reference code takes what stands between the first two commas: no quotes there.
            label_id = quoted_id if '"' in label_id else label_id
            file.write(f"{index},{label_id},{quoted_name}\n".encode())
        if not labels:
            raise LabelError("found no classes to write, expected at least one")


def make_descriptors(names: Iterable[str]) -> List[Label]:
    """Make classes out of names, in alphabetical order, or by number if all names are numbers.

    The ids are the names, with an underscore for each character that label files cannot hold. A
    LabelError names two names that differ only in such characters.
    """
    names = set(names)
    is_number = all(name.isdecimal() for name in names)
    in_order = sorted(names, key=lambda name: (int(name) if is_number else 0, name))
    labels: Dict[str, Label] = {}
    for index, name in enumerate(in_order):
        label_id = _CONTROL.sub("_", name.replace(",", "_")).strip()
        other = labels.setdefault(label_id, Label(index, label_id, name)).name
        if other != name:
            raise LabelError(f"found the labels {other!r} and {name!r}, expected names that differ")
    return list(labels.values())


def index_labels(descriptors: Sequence[Label]) -> Dict[str, int]:
    """The index of each class by its id, and by its name if no other class has that id or name."""
    bearers = Counter(label.name for label in descriptors)
    index_of = {label.name: label.index for label in descriptors if bearers[label.name] == 1}
    index_of.update((label.id, label.index) for label in descriptors)
    return index_of


def describe_difference(
    num_classes: int, names: Optional[Sequence[str]], descriptors: Sequence[Label]
) -> Optional[str]:
    """Say how a classifier's classes differ from those of a data set; None if they are the same.

    The classifier's `names` are ids or names of its classes, in order; None if they are not known.
    """
    if num_classes != len(descriptors):
        return f"found {num_classes} classes, expected {len(descriptors)}"
    for name, (index, label_id, label_name) in zip(names or [], descriptors, strict=False):
        if name not in (label_id, label_name):
            return f"found {quote(name)} as class {index}, expected {quote(label_name)}"
    return None


def read_labels(
    path: FilePath,
    manifest: Manifest,
    descriptors: Sequence[Label],
    descriptors_file: FilePath = DESCRIPTORS_FILE,
) -> LabelTable:
    """Read the labels of a manifest's clips; messages name `descriptors_file`."""
    path = os.fspath(path)
    # Millions of lines share few different fields.
    classes_of = cache(partial(_find_classes, index_labels(descriptors), descriptors_file))
    offsets, indices = array("q", [0]), array("i")
    lines = read_lines(path, f"labels: {path} {_how_to_make(path)}", sys.getfilesystemencoding())
    try:
        for expected, line in zip_longest(manifest.relative_paths(), lines):
            if line is None or expected is None:
                raise LabelError(_mismatch(line, "", manifest, len(offsets) - 1))
            name, tab, field = line.rpartition("\t")
            if not tab:
                name, _, field = line.rpartition(" ")
                name = name.rstrip(" ")
            if name != expected and name not in clip_spellings(expected):
                raise LabelError(_mismatch(line, name, manifest, len(offsets) - 1))
            indices.extend(classes_of(field))
            offsets.append(len(indices))
    except LabelError as error:
        raise LabelError(f"{path}:{len(offsets)}: {error}") from None
    return LabelTable(np.array(offsets), np.array(indices), len(descriptors))


def write_labels(path: FilePath, entries: Iterable[Tuple[str, Sequence[str]]]) -> int:
    """Write the labels of clips; an existing file is replaced at the end.

    Takes for each clip its path as the manifest has it, and the ids of its classes; returns the
    number of clips.
    """
    count = 0
    with _located(path), replace_file(path) as file:
        for clip, ids in entries:
            if not ids:
                raise LabelError(f"found no label of {quote(clip)}, expected at least one")
            for label_id in ids:
                _check_label(label_id, label_id)
            if not clip or "\n" in clip or "\r" in clip:
                expected = "expected a path without line breaks"
                raise LabelError(f"found the clip {quote(clip)}, {expected}")
            line = os.fsencode(f"{clip}\t{','.join(ids)}\n")
            file.write(line if count else guard_first(line))
            count += 1
        if count == 0:
            raise LabelError("found no clips to write, expected at least one")
    return count


def clip_spellings(path: str) -> Tuple[str, str, str]:
    """Other ways to write the path of a clip: without folders, without extension, without both."""
    stem = os.path.splitext(path)[0]
    return os.path.basename(path), stem, os.path.basename(stem)


def check_name(text: str, location: str = "") -> None:
    """Raise a LabelError for an id or name of a class that the formats cannot hold."""
    if text != text.strip() or _CONTROL.search(text) or NOT_TEXT.search(text):
        raise LabelError(
            f"{location}found {quote(text)}, expected an id or name in UTF-8 without control"
            " characters (tab, line break) and without spaces around it"
        )


@contextmanager
def _located(place: FilePath) -> Iterator[None]:
    """Put a place in front of the message of a LabelError."""
    try:
        yield
    except LabelError as error:
        raise LabelError(f"{os.fspath(place)}: {error}") from error.__cause__


def read_lines(path: str, missing: str, encoding: str = "utf-8") -> Iterator[str]:
    """Yield lines without line breaks, byte order mark and the blank lines at the end.

    A FileNotFoundError says that there are no such `missing`.
    """
    waiting: List[str] = []  # blank lines that may be at the end
    try:
        # Names of files may hold any bytes: those that are not text are kept.
        with open(path, encoding=encoding, errors="surrogateescape", newline="\n") as file:
            if file.read(1) != "\ufeff":
                file.seek(0)
            for line in file:
                waiting.append(line.rstrip("\r\n"))
                if waiting[-1]:
                    yield from waiting
                    waiting.clear()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such {missing}") from error


def _how_to_make(path: str) -> str:
    return (
        f"(`eat manifest folder DIR --labels-from parent --out {os.path.dirname(path)}` takes"
        " labels from the names of folders; manifests/README.md has more ways)"
    )


def _split_descriptor(line: str) -> Tuple[str, str, str]:
    """Index, id and name in a line of `label_descriptors.csv`."""
    expected = 'expected index,id,"name"'
    if not line:
        raise LabelError(f"found a blank line, {expected}")
    try:
        fields = next(csv.reader([line], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise LabelError(f"found {quote(line)}, {expected} ({error})") from error
    if len(fields) not in (2, 3):
        hint = " with quotes around a name that holds commas" if len(fields) > 3 else ""
        raise LabelError(f"found {len(fields)} fields in {quote(line)}, {expected}{hint}")
    index, label_id, name = ([field.strip() for field in fields] + [""])[:3]
    return index, label_id, name or label_id


def _add_label(labels: Dict[str, Label], index: str, label_id: str, name: str) -> None:
    """Add a class to those before it, by its id."""
    place = len(labels)
    if index != str(place):
        expected = f"expected {place}: classes count from 0, in order"
        raise LabelError(f"found the index {quote(index)}, {expected}")
    _check_label(label_id, name)
    if label_id in labels:
        raise LabelError(f"found the id {quote(label_id)} a second time, expected each once")
    labels[label_id] = Label(place, label_id, name)


def _check_label(label_id: str, name: str) -> None:
    """Refuse an id or name that the formats cannot hold."""
    if not label_id or not name:
        found = f"found the id {quote(label_id)} with the name {quote(name)}"
        raise LabelError(f"{found}, expected both")
    if "," in label_id:
        expected = "expected none: it separates labels"
        raise LabelError(f"found a comma in the id {quote(label_id)}, {expected}")
    for text in (label_id, name):
        check_name(text)


def _find_classes(
    index_of: Dict[str, int], descriptors_file: FilePath, field: str
) -> Tuple[int, ...]:
    """The classes of the field `label[,label...]`, each once."""
    labels = [label.strip() for label in field.split(",")]
    for label in labels:
        if not label:
            raise LabelError(f"found an empty label in {quote(field)}, {_EXPECTED_LINE}")
        if label not in index_of:
            raise LabelError(
                f"found the label {quote(label)}, expected an id of {os.fspath(descriptors_file)}"
                " (or a name that only one class has)"
            )
    return tuple(dict.fromkeys(index_of[label] for label in labels))


def _mismatch(line: Optional[str], name: str, manifest: Manifest, clip: int) -> str:
    """Say why a line, or None for the end of the file, does not belong to a clip."""
    if line is not None and clip == len(manifest):
        end = f"the end of the file after the {clip} clips of {manifest.file}"
        return f"found {quote(line)}, expected {end}"
    expected = f"expected {quote(manifest.relative_path(clip))} ({manifest.location(clip)})"
    if line is None:
        total = f"each of the {len(manifest)} clips needs a line"
        return f"found the end of the file, {expected}: {total}"
    if not line:
        return f"found a blank line, {expected}"
    if not name:
        return f"found {quote(line)} without a tab, {_EXPECTED_LINE}"
    forms = {unicodedata.normalize("NFC", path) for path in (name, manifest.relative_path(clip))}
    return f"found the clip {quote(name)}, {expected}" + " in its Unicode form" * (len(forms) == 1)
