"""Curves of training runs: is it learning, is it stable, has it collapsed? And lengths of clips."""

from itertools import cycle
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eat.training.run import TrainingLog

from .style import LINE_COLOURS, add_note, figure_style, make_panels


class Panel(NamedTuple):
    """One quantity over the updates."""

    column: str  # of the log; one of the same name and "_teacher" is drawn beside it
    title: str
    unit: str
    of_pretraining: Optional[bool] = None  # runs of one criterion only; None: all


PANELS = (
    Panel("loss", "Loss", "frames + weight x utterances"),
    Panel("probe_accuracy", "Probe: nearest neighbours", "accuracy"),
    Panel("probe_logistic_accuracy", "Probe: logistic regression", "accuracy"),
    Panel("probe_mAP", "Probe: nearest neighbours", "mean average precision"),
    Panel("probe_logistic_mAP", "Probe: logistic regression", "mean average precision"),
    Panel("frame_loss", "Frame loss", "per hidden patch"),
    Panel("utterance_loss", "Utterance loss", "per clone"),
    Panel("source_loss", "Loss of mixtures' sources", "per hidden patch"),
    Panel("mAP", "Mean average precision", "mean over classes"),
    Panel("accuracy", "Accuracy", "share of the clips"),
    Panel("event_f1", "F1 of events", "mean over classes"),
    Panel("segment_f1", "F1 of segments of 1 s", "mean over classes"),
    Panel("psds", "PSDS", "scenario 1 of DCASE"),
    Panel("psds_macro", "PSDS", "mean over classes"),
    Panel("lr", "Learning rate", "per update"),
    Panel("target_var", "Spread of the targets", "standard deviation"),
    Panel("prediction_var", "Spread of the predictions", "standard deviation"),
    Panel("cls_rank", "Effective rank of CLS", "directions"),
    Panel("patch_rank", "Effective rank of patches", "directions"),
    Panel("gnorm", "Gradient norm", "L2, before clipping"),
    Panel("ema_decay", "EMA decay of the teacher", "share kept per update"),
)
_CLASSIFICATION_LOSS = Panel("loss", "Loss", "per label or clip")
_AGREEING = 0.02  # of a loss: what machines and arithmetics differ by in the recorded quickstart
_COLUMNS_OF_PANELS = 4
_TRAINING_KINDS = ("train_inner", "train")
# A handful of points needs markers: a single one would not show as a line at all.
_MARKERS_UP_TO = 12
_NUM_BARS = 40


@figure_style
def draw_curves(
    runs: Mapping[str, TrainingLog], panels: Optional[Sequence[Panel]] = None
) -> Figure:
    """Draw what was logged over the updates, one small panel per quantity.

    Without `panels` all quantities are drawn that were logged, and several runs are compared in
    words. Several runs, by the names to show, are drawn over each other. Training is a solid line,
    validation dotted with open markers.
    """
    note = " ".join(compare_runs(runs)) if panels is None else ""
    panels = logged_panels(runs) if panels is None else panels
    num_columns = min(_COLUMNS_OF_PANELS, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figure = Figure(figsize=(3.6 * num_columns, 2.7 * num_rows + 0.4), layout="constrained")
    handles: Dict[str, Artist] = {}
    for panel, axes in zip(panels, make_panels(figure, len(panels), num_columns), strict=True):
        _draw_panel(axes, panel, runs)
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, line)
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles))
    )
    if note:
        add_note(figure, note)
    return figure


def compare_runs(runs: Mapping[str, TrainingLog]) -> Iterator[str]:
    """Say how far the losses of runs are from those of the first one, at their common updates."""
    (first, reference), *others = runs.items()
    for name, log in others:
        if is_pretraining(log) != is_pretraining(reference):
            continue  # their losses are of different kinds
        column = "frame_loss" if is_pretraining(log) else "loss"
        one, other = (training_columns(columns) for columns in (log, reference))
        empty = np.zeros(0)
        updates, here, there = np.intersect1d(
            one.get("num_updates", empty), other.get("num_updates", empty), return_indices=True
        )
        if not len(updates) or column not in one or column not in other:
            yield f"{name} and {first} logged no update in common."
            continue
        values, expected = one[column][here], other[column][there]
        errors = np.abs(values / expected - 1)
        verdict = "agree" if errors.max() <= _AGREEING else "differ"
        yield (
            f"{name} and {first} {verdict}: at update {updates[-1]:.0f} the"
            f" {column.replace('_', ' ')} is {values[-1]:.4g} and {expected[-1]:.4g}; at"
            f" {len(updates)} common updates it is at most {100 * errors.max():.2g} % apart."
        )


def training_columns(log: Optional[TrainingLog]) -> Dict[str, np.ndarray]:
    """What was logged of the training itself, as finely as it was; empty without a log."""
    return next((log[kind] for kind in _TRAINING_KINDS if kind in log), {}) if log else {}


def is_pretraining(log: TrainingLog) -> bool:
    """Whether a log is one of pre-training, by its losses."""
    return any("frame_loss" in columns for columns in log.values())


def logged_panels(runs: Mapping[str, TrainingLog]) -> List[Panel]:
    """The panels for which there is something to show; a ValueError if there are none."""
    found = {column for log in runs.values() for columns in log.values() for column in columns}
    panels = [panel for panel in PANELS if panel.column in found]
    if not panels:
        expected = ", ".join(panel.column for panel in PANELS)
        raise ValueError(f"runs: found {sorted(found)}, expected at least one of {expected}")
    if panels[0].column == "loss":
        loss = panels.pop(0)
        kinds = {is_pretraining(log) for log in runs.values()}
        if kinds == {True, False}:
            pretraining = loss._replace(title="Loss of pre-training", of_pretraining=True)
            finetuning = _CLASSIFICATION_LOSS._replace(title="Loss of fine-tuning")
            panels[:0] = [pretraining, finetuning._replace(of_pretraining=False)]
        else:
            panels.insert(0, loss if True in kinds else _CLASSIFICATION_LOSS)
    return panels


def _draw_panel(axes: Axes, panel: Panel, runs: Mapping[str, TrainingLog]) -> None:
    unit, limits = panel.unit, set()
    for number, (name, log) in enumerate(runs.items()):
        if panel.of_pretraining not in (None, is_pretraining(log)):
            continue
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        for label, columns in _series(log):
            limits.update(columns.get(f"max_{panel.column}", ()))
            for part, marker in (("", "o"), ("_teacher", "s")):
                values = columns.get(panel.column + part)
                if values is None:
                    continue
                logged = np.isfinite(values)
                is_training = label == "training"
                name_of_line = label + part.replace("_", ", ")
                axes.plot(
                    columns["num_updates"][logged], values[logged], color=colour,
                    linestyle="-" if is_training else ":",
                    marker="" if is_training and logged.sum() > _MARKERS_UP_TO else marker,
                    markersize=4 if is_training else 6,
                    markerfacecolor=colour if is_training else "white",
                    label=name_of_line if len(runs) == 1 else f"{name}, {name_of_line}",
                )  # fmt: skip
    if limits:
        unit += " of " + ", ".join(f"{limit:g}" for limit in sorted(limits) if limit == limit)
    axes.set(title=panel.title, xlabel="update", ylabel=unit)
    axes.set_xlim(left=0)
    axes.grid(True)
    if panel.column != "ema_decay":
        # From 0, so that a collapsed spread or a loss that hardly falls looks like one.
        axes.update_datalim([(0, 0)])
        axes.autoscale_view()
        axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", useOffset=False)


def _series(log: TrainingLog) -> Iterator[Tuple[str, Dict[str, np.ndarray]]]:
    """Columns by label: training, as finely as it was logged, then every validation set."""
    if training_columns(log):
        yield "training", training_columns(log)
    for kind in [kind for kind in log if kind not in _TRAINING_KINDS]:
        yield "validation" if kind == "valid" else kind, log[kind]


@figure_style
def draw_lengths(
    seconds: Mapping[str, np.ndarray], target_seconds: Optional[float] = None
) -> Figure:
    """Draw the distribution of the lengths (N,) of clips, one line per split that has any.

    A mark shows to what clips are padded or cropped.
    """
    seconds = {name: values for name, values in seconds.items() if len(values)}
    if not seconds:
        raise ValueError("seconds: found no clip, expected at least one")
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(seconds.values()))
    # A few very long recordings would squeeze all others into one bar.
    edges = np.linspace(0, max(np.percentile(everything, 99.5), target_seconds or 0), _NUM_BARS + 1)
    for colour, (name, values) in zip(cycle(LINE_COLOURS), seconds.items(), strict=False):
        counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
        axes.stairs(100 * counts / len(values), edges, color=colour, label=name, linewidth=1.8)
    if target_seconds is not None:
        axes.axvline(target_seconds, color="black", linewidth=1.2, linestyle="--")
        axes.annotate(
            f"cut or padded to {target_seconds:g} s", (target_seconds, 1),
            xycoords=("data", "axes fraction"), xytext=(-4, -2), textcoords="offset points",
            va="top", ha="right",
        )  # fmt: skip
    axes.margins(y=0.25)  # room for that above the bars
    axes.set(xlabel="length (s)", ylabel="clips (%)", ylim=(0, None))
    figure.legend(loc="outside upper left", ncols=len(seconds), fontsize="small")
    return figure
