"""Label descriptors: the classes of a data set, in the order of a classifier's outputs.

`label_descriptors.csv` lists the C classes as CSV, the header line is optional:

    0,/m/09x0r,"Speech"
    1,/m/05zppz,"Male speech, man speaking"
"""

import csv
import os
import re
from collections import Counter
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from eat.files import replace_file

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
    for number, line in enumerate(read_lines(path, "label descriptors"), start=1):
        fields, problem = _split_fields(line)
        if number == 1 and fields[0].lower() == "index":
            continue
        if problem is None:
            index, label_id, name = (*fields, "")[:3]
            name = name or label_id
            problem = _index_problem(index, len(labels)) or label_problem(label_id, name, ids)
        refuse(f"{path}:{number}", problem)
        labels.append(Label(len(labels), label_id, name))
        ids.add(label_id)
    if not labels:
        refuse(f"{path}:1", 'found no classes, expected a line index,id,"name" for each')
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
            return f"found {quote(name)} as class {index}, expected {quote(label_name)}"
    return None


def write_descriptors(path: LabelPath, labels: Sequence[Label]) -> None:
    """Write classes that `read_descriptors` reads back; an existing file is replaced at the end.

    Raises:
        LabelError: no classes, an index out of order, an id that comes twice, or an id or name
            that the formats cannot hold.
    """
    ids: Set[str] = set()
    for place, (index, label_id, name) in enumerate(labels):
        problem = _index_problem(str(index), place) or label_problem(label_id, name, ids)
        refuse(path, problem)
        ids.add(label_id)
    if not labels:
        refuse(path, "found no classes to write, expected at least one")
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


def read_lines(path: str, content: str, encoding: str = "utf-8") -> Iterator[str]:
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


def label_problem(label_id: str, name: str, ids: Iterable[str] = ()) -> Optional[str]:
    """What the formats cannot hold in an id or a name; `ids` are those of the classes before."""
    if not label_id or not name:
        return f"found the id {quote(label_id)} with the name {quote(name)}, expected both"
    if "," in label_id:
        return f"found a comma in the id {quote(label_id)}, expected none: it separates labels"
    if label_id in ids:
        return f"found the id {quote(label_id)} a second time, expected each once"
    for text in (label_id, name):
        if text != text.strip() or _CONTROL.search(text) or _NOT_UTF8.search(text):
            return (
                f"found {quote(text)}, expected an id or name in UTF-8 without control"
                " characters (tab, line break) and without spaces around it"
            )
    return None


def refuse(place: LabelPath, problem: Optional[str]) -> None:
    """Raise if there is a problem at a place."""
    if problem is not None:
        raise LabelError(f"{os.fspath(place)}: {problem}")


def quote(text: str, limit: int = 120) -> str:
    """A text as messages show it."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}..."


def _split_fields(line: str) -> Tuple[List[str], Optional[str]]:
    """The fields of a line of CSV, and what is wrong with them."""
    expected = 'expected index,id,"name"'
    if not line:
        return [line], f"found a blank line, {expected}"
    try:
        fields = next(csv.reader([line], strict=True, skipinitialspace=True))
    except csv.Error as error:
        return [line], f"found {quote(line)}, {expected} ({error})"
    if len(fields) in (2, 3):
        return [field.strip() for field in fields], None
    hint = " with quotes around a name that holds commas" if len(fields) > 3 else ""
    return fields, f"found {len(fields)} fields in {quote(line)}, {expected}{hint}"


def _quote_field(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


def _index_problem(index: str, expected: int) -> Optional[str]:
    if index == str(expected):
        return None
    return f"found the index {quote(index)}, expected {expected}: classes count from 0, in order"
