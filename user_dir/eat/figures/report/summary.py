"""A run in a few numbers, and what is wrong with it."""

import math
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional

import numpy as np

from eat.training.run_folder import Run

if TYPE_CHECKING:
    from .. import TrainingLog

# Of the spread of targets and predictions, which is near 1 in a healthy run.
COLLAPSED_BELOW = 0.1
MIN_SECONDS_FOR_SHARE = 60


class Fact(NamedTuple):
    """A number and what it is."""

    name: str
    value: str
    remark: str = ""


class Speed(NamedTuple):
    """How fast a run went.

    Attributes:
        updates_per_second: in the middle between log lines.
        slow_updates_per_second: what nine of ten log lines exceed.
        clips_per_update: of all workers together.
        share_in_updates: of the time, the rest being waiting for data; None for short runs.
    """

    updates_per_second: float
    slow_updates_per_second: float
    clips_per_update: float
    share_in_updates: Optional[float]

    @property
    def clips_per_second(self) -> float:
        return self.updates_per_second * self.clips_per_update


def training_columns(log: "Optional[TrainingLog]") -> Dict[str, np.ndarray]:
    """What was logged of the training itself, as finely as it was; empty without a log."""
    return next((log[kind] for kind in ("train_inner", "train") if kind in log), {}) if log else {}


def measure_speed(run: Run) -> Optional[Speed]:
    """The speed of a run; None if its log does not say."""
    columns = training_columns(run.log)
    if not {"ups", "bsz", "train_wall"} <= set(columns):
        return None
    rates, clips, in_updates = columns["ups"], columns["bsz"], columns["train_wall"]
    seconds = np.diff(columns["num_updates"], prepend=0) / np.maximum(rates, 1e-9)
    if len(rates) > 1:  # the first line holds the start: compilation, caches, the first batch
        rates, clips, in_updates, seconds = rates[1:], clips[1:], in_updates[1:], seconds[1:]
    total_seconds = float(np.nansum(seconds))
    # fairseq rounds the time in updates to whole seconds.
    share = min(1.0, float(np.nansum(in_updates)) / max(total_seconds, 1e-9))
    return Speed(
        updates_per_second=float(np.nanmedian(rates)),
        slow_updates_per_second=float(np.nanpercentile(rates, 10)),
        clips_per_update=float(np.nanmedian(clips)),
        share_in_updates=share if total_seconds >= MIN_SECONDS_FOR_SHARE else None,
    )


def list_facts(run: Run) -> List[Fact]:
    """The numbers to look at first."""
    return [*_progress(run), *_losses(run), *_best(run), *_speed(run), *_parameters(run)]


def list_warnings(run: Run) -> List[str]:
    """What is wrong with the training, as far as its log tells."""
    columns = training_columns(run.log)
    warnings = []
    losses = columns.get("loss", np.array([]))
    num_bad = int((~np.isfinite(losses)).sum())
    if num_bad:
        warnings.append(f"The loss is no finite number in {num_bad} of {len(losses)} log lines.")
    num_skipped = int(_last(columns.get("skipped_updates", np.zeros(1))))
    if num_skipped:
        warnings.append(
            f"{num_skipped} updates of the last start were skipped, as their gradients were not"
            " finite."
        )
    for column, what in (("target_var", "targets"), ("prediction_var", "predictions")):
        if column in columns and _last(columns[column]) < COLLAPSED_BELOW:
            warnings.append(
                f"The spread of the {what} is {_last(columns[column]):.2f}: the model has"
                " collapsed, all patches look the same to it."
            )
    return warnings


def _progress(run: Run) -> List[Fact]:
    columns = training_columns(run.log)
    if columns:
        num_updates = int(_last(columns["num_updates"]))
    elif run.state is not None:
        num_updates = run.state.num_updates
    else:
        return []
    planned = run.section("optimization").get("max_update") or 0
    is_done = planned and num_updates >= planned
    remark = ("all" if is_done else f"of {planned:,}: unfinished") if planned else ""
    epoch = f"epoch {int(_last(columns['epoch']))}" if "epoch" in columns else ""
    return [Fact("updates", f"{num_updates:,}", ", ".join(filter(None, (remark, epoch))))]


def _losses(run: Run) -> List[Fact]:
    columns = training_columns(run.log)
    facts = []
    for column, name in (("frame_loss", "frame loss"), ("loss", "loss")):
        if column in columns:
            first, last = columns[column][0], _last(columns[column])
            facts.append(Fact(name, f"{last:.3g}", f"{first:.3g} at first"))
            break
    if "prediction_var" in columns:
        spread = _last(columns["prediction_var"])
        facts.append(Fact("prediction spread", f"{spread:.2f}", "rises towards 1; 0: collapse"))
    return facts


def _best(run: Run) -> List[Fact]:
    metric = run.section("checkpoint").get("best_checkpoint_metric")
    if run.state is None or run.state.best_metric is None or not metric:
        return []
    return [Fact(f"best {metric}", f"{run.state.best_metric:.4g}", "in validation")]


def _speed(run: Run) -> List[Fact]:
    facts = []
    speed = measure_speed(run)
    if speed is not None:
        updates = f"{speed.updates_per_second:.3g} updates of {speed.clips_per_update:.0f} clips"
        facts.append(Fact("clips per second", f"{speed.clips_per_second:.3g}", updates))
    if run.state is not None and run.state.training_seconds > 0:
        time = as_duration(run.state.training_seconds)
        facts.append(Fact("time", time, "until the last save, all starts together"))
    return facts


def _parameters(run: Run) -> List[Fact]:
    counts = run.starts[-1].get("parameters") if run.starts else None
    if not counts:
        return []
    return [Fact("parameters", f"{counts['trained'] / 1e6:.3g} M", "trained")]


def as_duration(seconds: float) -> str:
    """Two units are enough: 3 d 4 h, 2 h 5 min, 1 min 20 s, 12 s."""
    seconds = round(seconds)
    for unit_seconds, unit, rest_seconds, rest in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit_seconds:
            return (
                f"{seconds // unit_seconds} {unit} {seconds % unit_seconds // rest_seconds} {rest}"
            )
    return f"{seconds} s"


def _last(values: np.ndarray) -> float:
    """The last value that was logged."""
    logged = values[~np.isnan(values)]
    return float(logged[-1]) if len(logged) else math.nan
