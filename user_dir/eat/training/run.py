"""Read what a training run left in its folder: its log, its starts, its checkpoint. No fairseq."""

import json
import math
import os
import re
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from eat.files import FilePath

from .record import LAST_CHECKPOINT, LOG_NAME, read_starts

# Kind of line -> column -> one value per line. "train_inner" holds the means over each
# `common.log_interval`, "train" over each epoch; validation sets stand under their own names.
# Every kind has the column "num_updates", rising; a column that a line lacks is NaN there.
TrainingLog = Dict[str, Dict[str, np.ndarray]]

_COUNT = "num_updates"


class LogLine(NamedTuple):
    """One line of statistics: its kind, and its values by column."""

    kind: str
    values: Dict[str, float]


class TrainingState(NamedTuple):
    """The state of a run when it saved a checkpoint."""

    cfg: Dict[str, Any]  # the whole configuration, by section
    num_updates: int
    epoch: int
    best_metric: Optional[float]  # `checkpoint.best_checkpoint_metric`; None before a validation
    training_seconds: float  # of all starts together


@dataclass
class Run:
    """A training run, as far as its folder tells."""

    folder: str  # checkpoint.save_dir
    log: Optional[TrainingLog] = None
    starts: List[Dict[str, Any]] = field(default_factory=list)  # how it was started, each time
    checkpoint: Optional[str] = None  # the file with the latest weights
    state: Optional[TrainingState] = None  # what that file says about the run
    notes: List[str] = field(default_factory=list)  # what could not be found out, and why

    @property
    def last_start(self) -> Dict[str, Any]:
        """How it was started the last time; empty if that is not recorded."""
        return self.starts[-1] if self.starts else {}

    def section(self, name: str) -> Dict[str, Any]:
        """A section of the configuration; empty if it is unknown."""
        return self.state.cfg.get(name) or {} if self.state is not None else {}

    @contextmanager
    def noting(self, subject: str) -> Iterator[None]:
        """Note an error about one subject and go on, so that all others can still be shown."""
        try:
            yield
        except Exception as error:
            is_told = isinstance(error, (ValueError, OSError, ImportError))
            self.notes.append(f"{subject}: {error if is_told else repr(error)}.")


def name_runs(paths: Sequence[str]) -> Dict[str, str]:
    """Runs by the shortest ends of their folders' paths that tell them apart.

    A `train.log` goes by its folder; "checkpoints" alone is no name. A ValueError names runs of
    which one is there twice.
    """
    parts = [os.path.abspath(path).split(os.sep) for path in paths]
    parts = [part[:-1] if part[-1] == LOG_NAME else part for part in parts]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-max(length, 1 + (p[-1] == "checkpoints")) :]) for p in parts]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise ValueError(f"found a run twice among {', '.join(paths)}, expected different ones")


def read_run(folder: str, log: Optional[str] = None) -> Run:
    """Read everything that a run's folder holds; what is damaged is noted in the run.

    `folder` is its `checkpoint.save_dir`, `log` a file with what it printed (None: the log in its
    folder). A FileNotFoundError says that there is no such folder or log, or nothing of a run in
    the folder, a ValueError that `log` holds no statistics.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no such folder: {folder}, expected a run's checkpoint.save_dir")
    run = Run(folder, checkpoint=find_checkpoint(folder))
    with run.noting("No command and no environment"):
        run.starts = read_starts(folder)
    with run.noting("No curves") if log is None else nullcontext():
        run.log = read_training_log(log or folder)
    if run.checkpoint is not None:
        with run.noting("No configuration"):
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


def find_checkpoint(folder: str) -> Optional[str]:
    """The checkpoint with the latest weights in a run's folder; None before the first save."""
    names = filter(re.compile(r"checkpoint.*\.pt").fullmatch, os.listdir(folder))
    paths = {name: os.path.join(folder, name) for name in names}
    preferred = paths.get(LAST_CHECKPOINT) or paths.get("checkpoint_best.pt")
    return preferred or max(paths.values(), key=os.path.getmtime, default=None)


def read_training_state(path: FilePath) -> TrainingState:
    """Read the state of a run from a checkpoint that `fairseq-hydra-train` wrote.

    A CheckpointError says that the file is damaged, or not a checkpoint of a training.
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
    values = {}
    for name in stats:
        if name.startswith(prefix):
            with suppress(TypeError, ValueError, OverflowError):  # what is not a number
                values[name[len(prefix) :]] = float(stats[name])
    if not math.isfinite(values.get(_COUNT, math.nan)):
        return None
    return LogLine(prefix[:-1] or "train_inner", values)


def read_training_log(run: FilePath) -> TrainingLog:
    """Read what a run printed, from a file (`common.log_file`) or the `train.log` in its folder.

    A run that was resumed repeats some updates; the last word on each counts. fairseq writes the
    lines of later epochs to `common.log_file` several times; they count once. A FileNotFoundError
    says that there is no such file or folder, or no log in it, a ValueError that it holds no
    statistics.
    """
    if not os.path.exists(run):
        raise FileNotFoundError(f"no such run: {run}, expected a folder or a log file")
    path = os.path.join(run, LOG_NAME) if os.path.isdir(run) else run
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{run}: found no {LOG_NAME}, expected the checkpoint.save_dir of a training run, or a"
            " file with what it printed"
        )
    rows: Dict[str, Dict[float, Dict[str, float]]] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in filter(None, map(parse_log_line, file)):
            by_update, update = rows.setdefault(line.kind, {}), line.values[_COUNT]
            # In place of what an earlier start logged of this update and later ones.
            while by_update and next(reversed(by_update)) >= update:
                by_update.popitem()
            by_update[update] = line.values
    if not rows:
        raise ValueError(
            f"{path}: found no line of training statistics, expected a log written with"
            " common.log_format=json"
        )
    log = {}
    for kind, by_update in rows.items():
        lines = by_update.values()
        names = dict.fromkeys(name for values in lines for name in values)
        log[kind] = {n: np.array([values.get(n, np.nan) for values in lines]) for n in names}
    return log
