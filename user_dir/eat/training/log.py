"""Read what fairseq logs during training (`common.log_format=json`)."""

import json
import math
import os
from typing import Dict, List, NamedTuple, Optional, Union

import numpy as np

# Kind of line -> column -> one value per line. "train_inner" holds the means over each
# `common.log_interval`, "train" over each epoch; validation sets stand under their own names.
# Every kind has the column "num_updates", rising; a column that a line lacks is NaN there.
TrainingLog = Dict[str, Dict[str, np.ndarray]]

_COUNT = "num_updates"


class LogLine(NamedTuple):
    """One line of statistics: its kind, and its values by column."""

    kind: str
    values: Dict[str, float]


def parse_log_line(line: str) -> Optional[LogLine]:
    """Statistics in one line of fairseq's output; None if there are none.

    The kind is told from the keys and not from the text before them: that text depends on the
    version of hydra, and `common.log_file` has none. Keys of all but "train_inner" carry their
    kind as a prefix, as in "valid_num_updates".
    """
    start = line.find("{")
    if start < 0:
        return None
    try:
        stats = json.loads(line[start:])
    except (ValueError, RecursionError):
        return None
    key = next((k for k in stats if k == _COUNT or k.endswith(f"_{_COUNT}")), None)
    if key is None:
        return None
    prefix = key[: -len(_COUNT)]
    values = _numbers({k[len(prefix) :]: stats[k] for k in stats if k.startswith(prefix)})
    if not math.isfinite(values.get(_COUNT, math.nan)):
        return None
    return LogLine(prefix[:-1] or "train_inner", values)


def read_training_log(path: Union[str, "os.PathLike[str]"]) -> TrainingLog:
    """Read a run's log: what it printed, or its `common.log_file`.

    A run that was resumed repeats some updates; the last word on each counts. fairseq writes
    the lines of later epochs to `common.log_file` several times; they count once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no statistics.
    """
    rows: Dict[str, Dict[float, Dict[str, float]]] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in map(parse_log_line, file):
            if line is not None:
                _add_row(rows.setdefault(line.kind, {}), line.values)
    if not rows:
        raise ValueError(
            f"{os.fspath(path)}: found no line of training statistics, expected a log written"
            " with common.log_format=json"
        )
    return {kind: _columns(list(by_update.values())) for kind, by_update in rows.items()}


def _numbers(stats: Dict[str, object]) -> Dict[str, float]:
    numbers = {}
    for key, value in stats.items():
        try:
            numbers[key] = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
    return numbers


def _add_row(by_update: Dict[float, Dict[str, float]], values: Dict[str, float]) -> None:
    update = values["num_updates"]
    for later in [known for known in by_update if known >= update]:
        del by_update[later]
    by_update[update] = values


def _columns(rows: List[Dict[str, float]]) -> Dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
