"""Labels from the files beside clips, of the same name but for the extension, as in webdataset."""

import json
import os
from typing import Any, List

from eat.audio.finding import Scan
from eat.audio.packs import read_bytes
from eat.work import Failure

from .table import Annotations

COMPANIONS = ("cls", "txt", "json")  # their extensions


def label_by_companion(scan: Scan, kind: str, field: str = "") -> Annotations:
    """Label each file by the one beside it that ends in `.cls`, `.txt` or `.json`.

    A line of text is a label, or a value in the field of a JSON object. The companion of
    `a/b.c.wav` is `a/b.c.txt`, or else `a/b.txt`: webdataset's key of a clip ends at the first dot
    of its name.
    """
    found = Annotations({}, {}, [])
    for path in scan.paths:
        folder, name = os.path.split(path)
        stems = dict.fromkeys((os.path.splitext(name)[0], name.partition(".")[0]))
        companions = [os.path.join(folder, f"{stem}.{kind}") for stem in stems]
        try:
            names = _read_first(scan, companions, kind, field)
        except ValueError as error:
            found.left_out.append(Failure(path, str(error)))
        else:
            found.labels[path] = names
    return found


def _read_first(scan: Scan, companions: List[str], kind: str, field: str) -> List[str]:
    """The labels in the first of some files that is there; a ValueError if it has none."""
    for companion in companions:
        place = os.path.join(scan.root, scan.address(companion))
        if companion not in scan.members and not os.path.isfile(place):
            continue
        try:
            text = read_bytes(place).decode("utf-8-sig")
            values = text.splitlines() if kind != "json" else _take(json.loads(text), field)
        except ValueError as error:  # also of what is no UTF-8 and no JSON
            raise ValueError(f"{companion}: {error}") from error
        names = [str(value).strip() for value in values]
        if any(names):
            return [name for name in names if name]
        raise ValueError(f"{companion}: found no label, expected one in each line or a JSON field")
    raise ValueError(f"no label: there is no {' or '.join(map(os.path.basename, companions))}")


def _take(content: Any, field: str) -> List[Any]:
    """The values of a field of a JSON object, which is one value or a list."""
    if not isinstance(content, dict) or field not in content:
        there = f"the fields {', '.join(content)}" if isinstance(content, dict) else "no object"
        raise ValueError(f"found {there}, expected {field!r}")
    values = content[field] if isinstance(content[field], list) else [content[field]]
    if not all(isinstance(value, (str, int)) for value in values):
        raise ValueError(
            f"{field}: found {content[field]!r}, expected text, a whole number or a list"
        )
    return values
