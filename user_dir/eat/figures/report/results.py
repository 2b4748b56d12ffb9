"""What `eat evaluate` and `eat probe` found out about a run."""

import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

EVALUATION, PROBE = "metrics.json", "probe.json"


class Result(NamedTuple):
    """A file of results: where it is, and what it holds."""

    path: str
    values: Dict[str, Any]


def find_results(folders: Sequence[str]) -> Tuple[List[Result], List[Result]]:
    """Evaluations and probes in some folders and below them.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file of that name that is none.
    """
    paths: Dict[str, None] = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"no such folder: {folder}, expected the --out of `eat evaluate` or `eat probe`"
            )
        paths.update(dict.fromkeys(_walk(folder)))
    evaluations = [_read(path, "metrics") for path in paths if path.endswith(EVALUATION)]
    return evaluations, [_read(path, "results") for path in paths if path.endswith(PROBE)]


def _walk(folder: str) -> Iterator[str]:
    for parent, subfolders, names in os.walk(folder):
        subfolders.sort()
        for name in (EVALUATION, PROBE):
            if name in names:
                yield os.path.normpath(os.path.join(parent, name))


def _read(path: str, needed: str) -> Result:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        values[needed]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: found no results ({error}), expected a file of `eat evaluate --out` or"
            " `eat probe --out`"
        ) from error
    return Result(path, values)
