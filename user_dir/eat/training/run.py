"""Read what a training run left in its folder: its log, its starts, its checkpoint. No fairseq."""

import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from eat.files import FilePath

from .record import LOG_NAME, read_starts

# Kind of line -> column -> one value per line. "train_inner" holds the means over each
# `common.log_interval`, "train" over each epoch; validation sets stand under their own names.
# Every kind has the column "num_updates", rising; a column that a line lacks is NaN there.
TrainingLog = Dict[str, Dict[str, np.ndarray]]

_COUNT = "num_updates"
# In the order of preference: the last one holds the most recent weights.
_CHECKPOINTS = ("checkpoint_last.pt", "checkpoint_best.pt")


class LogLine(NamedTuple):
    """One line of statistics: its kind, and its values by column."""

    kind: str
    values: Dict[str, float]


class TrainingState(NamedTuple):
    """The state of a run when it saved a checkpoint.

    Attributes:
        cfg: the whole configuration, by section.
        num_updates: updates so far.
        epoch: the epoch it was in.
        best_metric: the best value of `checkpoint.best_checkpoint_metric`; None before the first
            validation.
        training_seconds: the time of all starts together.
    """

    cfg: Dict[str, Any]
    num_updates: int
    epoch: int
    best_metric: Optional[float]
    training_seconds: float


@dataclass
class Run:
    """A training run, as far as its folder tells.

    Attributes:
        folder: `checkpoint.save_dir`.
        log: what was logged; None without a log.
        starts: how it was started, each time.
        checkpoint: the file with the latest weights; None before the first save.
        state: what that file says about the run.
        notes: what could not be found out, and why.
    """

    folder: str
    log: Optional[TrainingLog] = None
    starts: List[Dict[str, Any]] = field(default_factory=list)
    checkpoint: Optional[str] = None
    state: Optional[TrainingState] = None
    notes: List[str] = field(default_factory=list)

    @property
    def cfg(self) -> Dict[str, Any]:
        """The whole configuration by section; empty before the first save."""
        return self.state.cfg if self.state is not None else {}

    @property
    def last_start(self) -> Dict[str, Any]:
        """How it was started the last time; empty if that is not recorded."""
        return self.starts[-1] if self.starts else {}

    def section(self, name: str) -> Dict[str, Any]:
        """A section of the configuration; empty if it is unknown."""
        return self.cfg.get(name) or {}


def read_run(folder: str, log: Optional[str] = None) -> Run:
    """Read everything that a run's folder holds.

    Args:
        folder: `checkpoint.save_dir`.
        log: a file with what the run printed; None: the log in its folder.

    Raises:
        FileNotFoundError: there is no such folder, or nothing of a run in it.
        ValueError: what is there is damaged.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no such folder: {folder}, expected a run's checkpoint.save_dir")
    run = Run(folder, starts=read_starts(folder), checkpoint=find_checkpoint(folder))
    try:
        run.log = read_training_log(log or find_log(folder))
    except (FileNotFoundError, ValueError) as error:
        if log is not None:
            raise
        run.notes.append(f"No curves: {error}.")
    if run.checkpoint is not None:
        run.state = read_training_state(run.checkpoint)
    elif run.log is None:
        raise FileNotFoundError(
            f"{folder}: found neither a log nor a checkpoint, expected the checkpoint.save_dir of"
            " a training run"
        )
    else:
        run.notes.append(
            "No checkpoint has been saved yet: configuration, masks and data are unknown."
        )
    return run


def find_log(run: FilePath) -> str:
    """The file with a run's statistics.

    Args:
        run: the run's folder, or the file itself.

    Raises:
        FileNotFoundError: there is no such folder or file, or the folder holds no log.
    """
    run = os.fspath(run)
    if not os.path.exists(run):
        raise FileNotFoundError(f"no such run: {run}, expected a folder or a log file")
    path = os.path.join(run, LOG_NAME) if os.path.isdir(run) else run
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{run}: found no {LOG_NAME}, expected the checkpoint.save_dir of a training run, or a"
            " file with what it printed"
        )
    return path


def find_checkpoint(folder: str) -> Optional[str]:
    """The checkpoint with the latest weights in a run's folder; None before the first save."""
    names = os.listdir(folder)
    for name in _CHECKPOINTS:
        if name in names:
            return os.path.join(folder, name)
    others = [
        os.path.join(folder, name) for name in names if re.fullmatch(r"checkpoint.*\.pt", name)
    ]
    return max(others, key=os.path.getmtime, default=None)


def read_training_state(path: FilePath) -> TrainingState:
    """Read the state of a run from a checkpoint that `fairseq-hydra-train` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, or not a checkpoint of a training.
    """
    from eat.checkpoint import CheckpointError  # here, as curves need no torch
    from eat.checkpoint.loading import read_pickle

    state = read_pickle(str(path))
    try:
        extra = state["extra_state"]
        return TrainingState(
            cfg=state["cfg"],
            num_updates=state["optimizer_history"][-1]["num_updates"],
            epoch=extra["train_iterator"]["epoch"],
            best_metric=extra.get("best"),
            training_seconds=float(extra.get("previous_training_time", 0)),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: found no training state ({error}), expected a checkpoint of"
            " fairseq-hydra-train"
        ) from error


def parse_log_line(line: str) -> Optional[LogLine]:
    """Statistics in one line of fairseq's output (`common.log_format=json`); None without any.

    The keys tell the kind, not the text before them: that text depends on the version of hydra,
    and `common.log_file` has none. Keys of all kinds but "train_inner" carry their kind as a
    prefix, as in "valid_num_updates".
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


def read_training_log(path: FilePath) -> TrainingLog:
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


def _numbers(stats: Dict[str, Any]) -> Dict[str, float]:
    """The values that are numbers, or text that says one."""
    numbers = {}
    for key, value in stats.items():
        try:
            numbers[key] = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
    return numbers


def _add_row(by_update: Dict[float, Dict[str, float]], values: Dict[str, float]) -> None:
    """Add a line, in place of what an earlier start logged of this update and later ones."""
    update = values[_COUNT]
    for later in [known for known in by_update if known >= update]:
        del by_update[later]
    by_update[update] = values


def _columns(rows: List[Dict[str, float]]) -> Dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
