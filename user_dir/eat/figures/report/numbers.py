"""Numbers of a run that have to be computed: its speed, and what is wrong with it."""

import math
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from eat.training.run import TrainingLog

# Of the spread of targets and predictions, which is near 1 in a healthy run.
COLLAPSED_BELOW = 0.1
MIN_SECONDS_FOR_SHARE = 60


class Speed(NamedTuple):
    """How fast a run went.

    Attributes:
        updates_per_second: the median of the log lines.
        slow_updates_per_second: nine of ten log lines exceed it.
        clips_per_update: of all workers together.
        share_waiting: of the time, spent waiting for data; None for short runs.
    """

    updates_per_second: float
    slow_updates_per_second: float
    clips_per_update: float
    share_waiting: Optional[float]

    @property
    def clips_per_second(self) -> float:
        return self.updates_per_second * self.clips_per_update


def training_columns(log: Optional[TrainingLog]) -> Dict[str, np.ndarray]:
    """What was logged of the training itself, as finely as it was; empty without a log."""
    return next((log[kind] for kind in ("train_inner", "train") if kind in log), {}) if log else {}


def measure_speed(columns: Dict[str, np.ndarray]) -> Optional[Speed]:
    """The speed of a run by its `training_columns`; None if they do not tell."""
    if not {"ups", "bsz", "train_wall"} <= set(columns):
        return None
    rates, clips, in_updates = columns["ups"], columns["bsz"], columns["train_wall"]
    seconds = np.diff(columns["num_updates"], prepend=0) / np.maximum(rates, 1e-9)
    if len(rates) > 1:  # the first line holds the start: compilation, caches, the first batch
        rates, clips, in_updates, seconds = rates[1:], clips[1:], in_updates[1:], seconds[1:]
    total_seconds = float(np.nansum(seconds))
    # fairseq rounds the time in updates to whole seconds.
    share_in_updates = min(1.0, float(np.nansum(in_updates)) / max(total_seconds, 1e-9))
    return Speed(
        updates_per_second=float(np.nanmedian(rates)),
        slow_updates_per_second=float(np.nanpercentile(rates, 10)),
        clips_per_update=float(np.nanmedian(clips)),
        share_waiting=1 - share_in_updates if total_seconds >= MIN_SECONDS_FOR_SHARE else None,
    )


def list_warnings(columns: Dict[str, np.ndarray]) -> List[str]:
    """What is wrong with a training, as far as its `training_columns` tell."""
    warnings = []
    losses = columns.get("loss", np.array([]))
    num_bad = int((~np.isfinite(losses)).sum())
    if num_bad:
        warnings.append(f"The loss is not finite in {num_bad} of {len(losses)} log lines.")
    num_skipped = int(latest(columns.get("skipped_updates", np.zeros(1))))
    if num_skipped:
        warnings.append(
            f"{num_skipped} updates since the last start were skipped because their gradients were"
            " not finite."
        )
    for column, what in (("target_var", "targets"), ("prediction_var", "predictions")):
        if column in columns and latest(columns[column]) < COLLAPSED_BELOW:
            warnings.append(
                f"The spread of the {what} is {latest(columns[column]):.2f}: the model has"
                " collapsed, all patches look the same to it."
            )
    return warnings


def latest(values: np.ndarray) -> float:
    """The last value that was logged."""
    logged = values[~np.isnan(values)]
    return float(logged[-1]) if len(logged) else math.nan


def as_duration(seconds: float) -> str:
    """Time in two units: 3 d 4 h, 2 h 5 min, 1 min 20 s, 12 s."""
    seconds = round(seconds)
    for size, unit, small_size, small in (
        (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small_size} {small}"
    return f"{seconds} s"
