"""Labels: which classes the clips of a manifest belong to.

Two text formats, known to this module alone. `label_descriptors.csv` lists the C classes in the
order of a classifier's outputs, as CSV. A header line is optional; names may hold commas:

    0,/m/09x0r,"Speech"
    1,/m/05zppz,"Male speech, man speaking"

`{split}.lbl` stands beside the manifest `{split}.tsv` and has a line for each clip, in its order:

    speech/interview 1.wav<TAB>/m/09x0r,/m/05zppz
    hello.flac<TAB>/m/09x0r

The last tab of a line separates the two; without a tab the last space does, which the reference
code allows. The clip is written as in the manifest, with or without its folders and its extension.
A label is the id of a class, or its name if no other class has that id or name.
"""

import csv
import os
import re
import sys
from array import array
from collections import Counter
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from ..files import replace_file
from .manifest import Manifest

LabelPath = Union[str, "os.PathLike[str]"]

DESCRIPTORS_FILE = "label_descriptors.csv"

_BOM = "\ufeff"
_CONTROL = re.compile("[\0-\x1f\x7f]")  # line breaks and tabs among them
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what Python makes of such bytes


class LabelError(ValueError):
    """Labels that are not in the format; the message is `file:line: found ..., expected ...`."""


class Label(NamedTuple):
    """A class: its place among the outputs, what label files call it, what people call it."""

    index: int
    id: str
    name: str


class LabelTable:
    """The classes of each clip, as two arrays that forked workers share.

    Args:
        offsets: (N+1,) int64; the classes of clip i are `indices[offsets[i] : offsets[i + 1]]`.
        indices: (labels,) int32, each in [0, C).
        num_classes: C.

    Attributes:
        num_classes: C.
    """

    def __init__(self, offsets: np.ndarray, indices: np.ndarray, num_classes: int) -> None:
        self.num_classes = num_classes
        self._offsets = offsets
        self._indices = indices
        self._offsets.flags.writeable = False
        self._indices.flags.writeable = False

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def classes(self, clip: int) -> np.ndarray:
        """(n,) int32, the classes of a clip, each once, in the order of its line."""
        if not 0 <= clip < len(self):
            raise IndexError(f"labels of clip {clip} of {len(self)}")
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


def read_descriptors(path: LabelPath) -> List[Label]:
    """Read the classes of a data set, in the order of a classifier's outputs.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: a line that is not in the format, an index out of order, an id that comes
            twice, or no class at all; naming the line, what was found and expected.
    """
    path = os.fspath(path)
    labels: List[Label] = []
    ids: Set[str] = set()
    for number, line in enumerate(_read_lines(path, "label descriptors"), start=1):
        fields, problem = _split_fields(line)
        if number == 1 and fields[0].lower() == "index":
            continue
        if problem is None:
            index, label_id, name = (*fields, fields[1])[:3]
            problem = _index_problem(index, len(labels)) or _label_problem(label_id, name, ids)
        _refuse(f"{path}:{number}", problem)
        labels.append(Label(len(labels), label_id, name))
        ids.add(label_id)
    if not labels:
        _refuse(f"{path}:1", 'found no classes, expected a line index,id,"name" for each')
    return labels


def describe_difference(
    num_classes: int, names: Optional[Sequence[str]], descriptors: Sequence[Label]
) -> Optional[str]:
    """What tells a classifier's classes from those of a data set; None if they are the same.

    Args:
        num_classes: the classifier's.
        names: ids or names of its classes, in order; None if it does not know them.
        descriptors: the classes of the data set.
    """
    if num_classes != len(descriptors):
        return f"found {num_classes} classes, expected {len(descriptors)}"
    for name, (index, label_id, label_name) in zip(names or [], descriptors, strict=False):
        if name not in (label_id, label_name):
            return f"found {_quote(name)} as class {index}, expected {_quote(label_name)}"
    return None


def write_descriptors(path: LabelPath, labels: Sequence[Label]) -> None:
    """Write classes that `read_descriptors` reads back; an existing file is replaced at the end.

    Raises:
        LabelError: no classes, an index out of order, an id that comes twice, or an id or name
            that the formats cannot hold.
    """
    ids: Set[str] = set()
    for place, (index, label_id, name) in enumerate(labels):
        problem = _index_problem(str(index), place) or _label_problem(label_id, name, ids)
        _refuse(path, problem)
        ids.add(label_id)
    if not labels:
        _refuse(path, "found no classes to write, expected at least one")
    with replace_file(path) as file:
        for index, label_id, name in labels:
            # The reference code cuts the line at its commas and takes what stands between.
            label_id = _quote_field(label_id) if '"' in label_id else label_id
            file.write(f"{index},{label_id},{_quote_field(name)}\n".encode())


def make_descriptors(names: Iterable[str]) -> List[Label]:
    """Make classes of names, in alphabetical order, or by number if all are numbers.

    The ids are the names, with an underscore in place of what separates labels in label files.

    Raises:
        LabelError: names that differ in nothing else.
    """
    names = set(names)
    is_number = all(name.isdecimal() for name in names)
    in_order = sorted(names, key=lambda name: (int(name) if is_number else 0, name))
    labels: List[Label] = []
    name_of: Dict[str, str] = {}
    for index, name in enumerate(in_order):
        label_id = _CONTROL.sub("_", name.replace(",", "_")).strip()
        other = name_of.setdefault(label_id, name)
        if other != name:
            raise LabelError(f"found the labels {other!r} and {name!r}, expected names that differ")
        labels.append(Label(index, label_id, name))
    return labels


def index_labels(descriptors: Sequence[Label]) -> Dict[str, int]:
    """The index of each class by its id, and by its name if no other class has that id or name."""
    bearers = Counter(label.name for label in descriptors)
    index_of = {label.name: label.index for label in descriptors if bearers[label.name] == 1}
    index_of.update((label.id, label.index) for label in descriptors)
    return index_of


def read_labels(
    path: LabelPath,
    manifest: Manifest,
    descriptors: Sequence[Label],
    descriptors_file: LabelPath = DESCRIPTORS_FILE,
) -> LabelTable:
    """Read the labels of a manifest's clips.

    Args:
        path: the label file, which has a line for each clip of the manifest, in its order.
        manifest: the clips.
        descriptors: the classes.
        descriptors_file: where those were read from, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: a line that is not in the format or is another clip's, a label that is no
            class, too few or too many lines; naming the line, what was found and expected.
    """
    path = os.fspath(path)
    classes_of = _ClassesOfField(descriptors, os.fspath(descriptors_file))
    offsets, indices = array("q", [0]), array("i")
    lines = _read_lines(path, "labels", sys.getfilesystemencoding())
    try:
        for expected, line in zip(manifest.relative_paths(), lines, strict=False):
            name, field = _split_line(line)
            if name != expected and name not in clip_spellings(expected):
                raise LabelError(_clip_problem(line, name, manifest, len(offsets) - 1))
            indices.extend(classes_of[field])
            offsets.append(len(indices))
        _check_end(len(offsets) - 1, manifest, next(lines, None))
    except LabelError as error:
        raise LabelError(f"{path}:{len(offsets)}: {error}") from None
    return LabelTable(np.array(offsets), np.array(indices), len(descriptors))


def write_labels(path: LabelPath, entries: Iterable[Tuple[str, Sequence[str]]]) -> int:
    """Write the labels of clips; an existing file is replaced at the end.

    Args:
        path: the file to write.
        entries: for each clip its path as the manifest has it, and the ids of its classes.

    Returns:
        The number of clips.

    Raises:
        LabelError: no clips, a clip without label, or a path or id that the format cannot hold.
    """
    count = 0
    with replace_file(path) as file:
        for clip, ids in entries:
            problem = None if ids else f"found no label of {_quote(clip)}, expected at least one"
            for label_id in ids:
                problem = problem or _label_problem(label_id, label_id)
            _refuse(path, problem or _path_problem(clip))
            file.write(os.fsencode(f"{clip}\t{','.join(ids)}\n"))
            count += 1
        if count == 0:
            _refuse(path, "found no clips to write, expected at least one")
    return count


def clip_spellings(path: str) -> Tuple[str, str, str]:
    """How else a clip may be written than as its path: without folders, without extension."""
    stem = os.path.splitext(path)[0]
    return os.path.basename(path), stem, os.path.basename(stem)


class _ClassesOfField(Dict[str, List[int]]):
    """Field `label[,label...]` -> its classes; each different field is taken apart once."""

    def __init__(self, descriptors: Sequence[Label], descriptors_file: str) -> None:
        super().__init__()
        self._file = descriptors_file
        self._index_of = index_labels(descriptors)

    def __missing__(self, field: str) -> List[int]:
        classes = dict.fromkeys(self._find(label.strip(), field) for label in field.split(","))
        self[field] = list(classes)
        return self[field]

    def _find(self, label: str, field: str) -> int:
        if not label:
            raise LabelError(
                f"found an empty label in {_quote(field)}, expected clip<TAB>label[,label...]"
            )
        index = self._index_of.get(label)
        if index is None:
            raise LabelError(
                f"found the label {_quote(label)}, expected an id of {self._file} (or a name that"
                " only one class has)"
            )
        return index


def _read_lines(path: str, content: str, encoding: str = "utf-8") -> Iterator[str]:
    """Lines without line breaks, byte order mark and the blank lines at the end."""
    num_blank = 0
    try:
        # Bytes that are not text are kept: names of files may hold any.
        with open(path, encoding=encoding, errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file):
                line = line.rstrip("\r\n")
                if number == 0:
                    line = line.removeprefix(_BOM)
                if line:
                    yield from [""] * num_blank
                    num_blank = 0
                    yield line
                else:
                    num_blank += 1
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no such {content}: {path} (`eat manifest folder DIR --labels-from parent --out"
            f" {os.path.dirname(path)}` takes them from the names of folders; there are more ways)"
        ) from error


def _split_fields(line: str) -> Tuple[List[str], Optional[str]]:
    """The fields of a line of CSV, and what is wrong with them."""
    expected = 'expected index,id,"name"'
    if not line:
        return [line], f"found a blank line, {expected}"
    try:
        fields = next(csv.reader([line], strict=True, skipinitialspace=True))
    except csv.Error as error:
        return [line], f"found {_quote(line)}, {expected} ({error})"
    if len(fields) in (2, 3):
        return [field.strip() for field in fields], None
    hint = " with quotes around a name that holds commas" if len(fields) > 3 else ""
    return fields, f"found {len(fields)} fields in {_quote(line)}, {expected}{hint}"


def _quote_field(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


def _index_problem(index: str, expected: int) -> Optional[str]:
    if index == str(expected):
        return None
    return f"found the index {_quote(index)}, expected {expected}: classes count from 0, in order"


def _label_problem(label_id: str, name: str, ids: Iterable[str] = ()) -> Optional[str]:
    """What the formats cannot hold in an id or a name; `ids` are those of the classes before."""
    if not label_id:
        return f"found an empty id of the name {_quote(name)}, expected one"
    if "," in label_id:
        return f"found a comma in the id {_quote(label_id)}, expected none: it separates labels"
    if label_id in ids:
        return f"found the id {_quote(label_id)} a second time, expected each once"
    for text in (label_id, name):
        if text != text.strip() or _CONTROL.search(text) or _NOT_UTF8.search(text):
            return (
                f"found {_quote(text)}, expected an id or name in UTF-8 without control"
                " characters (tab, line break) and without spaces around it"
            )
    return None


def _split_line(line: str) -> Tuple[str, str]:
    """The clip and the labels of a line."""
    clip, tab, field = line.rpartition("\t")
    if not tab:
        clip, _, field = line.rpartition(" ")
        clip = clip.rstrip(" ")
    return clip, field


def _clip_problem(line: str, name: str, manifest: Manifest, clip: int) -> str:
    expected = f"expected {_quote(manifest.relative_path(clip))} ({manifest.location(clip)})"
    if not line:
        return f"found a blank line, {expected}"
    if not name:
        return f"found {_quote(line)} without a tab, expected clip<TAB>label[,label...]"
    return f"found the clip {_quote(name)}, {expected}"


def _check_end(num_clips: int, manifest: Manifest, next_line: Optional[str]) -> None:
    if num_clips < len(manifest):
        raise LabelError(
            f"found the end of the file, expected {_quote(manifest.relative_path(num_clips))}"
            f" ({manifest.location(num_clips)}): each of the {len(manifest)} clips needs a line"
        )
    if next_line is not None:
        raise LabelError(
            f"found {_quote(next_line)}, expected the end of the file after the {num_clips} clips"
            f" of {manifest.file}"
        )


def _path_problem(path: str) -> Optional[str]:
    if not path or "\n" in path or "\r" in path:
        return f"found the clip {_quote(path)}, expected a path without line breaks"
    return None


def _refuse(place: LabelPath, problem: Optional[str]) -> None:
    if problem is not None:
        raise LabelError(f"{os.fspath(place)}: {problem}")


def _quote(text: str, limit: int = 120) -> str:
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}..."
