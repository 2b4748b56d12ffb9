"""What is in the folder of a training run."""

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .record import find_log, read_starts

if TYPE_CHECKING:
    from eat.checkpoint.training_state import TrainingState
    from eat.training.log import TrainingLog

# The last one first: it holds the most recent weights.
_CHECKPOINTS = ("checkpoint_last.pt", "checkpoint_best.pt")


@dataclass
class Run:
    """A training run, as far as its folder tells.

    Attributes:
        folder: `checkpoint.save_dir`.
        log: what was logged; None if there is no log.
        starts: how it was started, each time.
        checkpoint: the file with the latest weights; None before the first save.
        state: what that file says of the run.
        notes: what could not be found out, and why.
    """

    folder: str
    log: "Optional[TrainingLog]" = None
    starts: List[Dict[str, Any]] = field(default_factory=list)
    checkpoint: Optional[str] = None
    state: "Optional[TrainingState]" = None
    notes: List[str] = field(default_factory=list)

    @property
    def cfg(self) -> Dict[str, Any]:
        """The whole configuration by section; empty before the first save."""
        return self.state.cfg if self.state is not None else {}

    @property
    def is_pretraining(self) -> bool:
        """Whether clips are masked."""
        return self.section("model").get("_name") == "eat"

    def section(self, name: str) -> Dict[str, Any]:
        """A section of the configuration; empty if it is unknown."""
        return self.cfg.get(name) or {}


def read_run(folder: str, log: Optional[str] = None) -> Run:
    """Read all that a run's folder holds.

    Args:
        folder: `checkpoint.save_dir`.
        log: a file with what the run printed; None: the log in its folder.

    Raises:
        FileNotFoundError: there is no such folder, or nothing of a run in it.
        ValueError: what is there is damaged.
    """
    from eat.training.log import read_training_log

    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no such folder: {folder}, expected a run's checkpoint.save_dir")
    run = Run(folder, starts=read_starts(folder))
    try:
        run.log = read_training_log(log or find_log(folder))
    except (FileNotFoundError, ValueError) as error:
        if log is not None:
            raise
        run.notes.append(f"No curves: {error}.")
    _read_checkpoint(run)
    if run.log is None and run.checkpoint is None:
        raise FileNotFoundError(
            f"{folder}: found neither a log nor a checkpoint, expected the checkpoint.save_dir of"
            " a training run"
        )
    return run


def _read_checkpoint(run: Run) -> None:
    from eat.checkpoint.training_state import read_training_state

    path = find_checkpoint(run.folder)
    if path is None:
        run.notes.append(
            "No checkpoint has been saved yet: configuration, masks and data are unknown."
        )
        return
    run.checkpoint, run.state = path, read_training_state(path)


def find_checkpoint(folder: str) -> Optional[str]:
    """The checkpoint with the latest weights in a run's folder."""
    for name in _CHECKPOINTS:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    others = [
        os.path.join(folder, name)
        for name in os.listdir(folder)
        if re.fullmatch(r"checkpoint.*\.pt", name)
    ]
    return max(others, key=os.path.getmtime, default=None)
