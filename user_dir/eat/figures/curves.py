"""Curves of training runs: is it learning, is it stable, has it collapsed?"""

from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eat.training.run import TrainingLog

from .style import LINE_COLOURS, figure_style, make_panels


class Panel(NamedTuple):
    """One quantity over the updates: its column in the log, its title and its unit."""

    column: str
    title: str
    unit: str


PANELS = (
    Panel("loss", "Loss", "frames + weight x utterances"),
    Panel("frame_loss", "Frame loss", "per hidden patch"),
    Panel("utterance_loss", "Utterance loss", "per clone"),
    Panel("mAP", "Mean average precision", "mean over classes"),
    Panel("accuracy", "Accuracy", "share of the clips"),
    Panel("lr", "Learning rate", "per update"),
    Panel("target_var", "Spread of the targets", "standard deviation"),
    Panel("prediction_var", "Spread of the predictions", "standard deviation"),
    Panel("gnorm", "Gradient norm", "L2, before clipping"),
    Panel("ema_decay", "EMA decay of the teacher", "share kept per update"),
)
_CLASSIFICATION_LOSS = Panel("loss", "Loss", "per label or clip")
_COLUMNS_OF_PANELS = 4
_TRAINING_KINDS = ("train_inner", "train")
# A handful of points needs markers: a single one would not show as a line at all.
_MARKERS_UP_TO = 12


@figure_style
def draw_curves(
    runs: Mapping[str, TrainingLog], panels: Optional[Sequence[Panel]] = None
) -> Figure:
    """Draw what was logged over the updates, one small panel per quantity.

    Training is a solid line, validation dotted with open markers.

    Args:
        runs: logs by the name to show; several runs are drawn over each other.
        panels: which quantities; None: all that were logged.

    Raises:
        ValueError: no run has any of the quantities.
    """
    panels = logged_panels(runs) if panels is None else panels
    num_columns = min(_COLUMNS_OF_PANELS, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figure = Figure(figsize=(3.6 * num_columns, 2.7 * num_rows + 0.4), layout="constrained")
    for panel, axes in zip(panels, make_panels(figure, len(panels), num_columns), strict=True):
        _draw_panel(axes, panel, runs)
    _add_legend(figure)
    return figure


def logged_panels(runs: Mapping[str, TrainingLog]) -> List[Panel]:
    """The panels for which there is something to show.

    Raises:
        ValueError: no run has any of the quantities.
    """
    found = {column for log in runs.values() for columns in log.values() for column in columns}
    panels = [panel for panel in PANELS if panel.column in found]
    if not panels:
        expected = ", ".join(panel.column for panel in PANELS)
        raise ValueError(f"runs: found {sorted(found)}, expected at least one of {expected}")
    if panels[0].column == "loss" and "frame_loss" not in found:
        panels[0] = _CLASSIFICATION_LOSS
    return panels


def _draw_panel(axes: Axes, panel: Panel, runs: Mapping[str, TrainingLog]) -> None:
    for number, (name, log) in enumerate(runs.items()):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        for label, columns in _series(log):
            if panel.column not in columns:
                continue
            values = columns[panel.column]
            logged = np.isfinite(values)
            is_training = label == "training"
            axes.plot(
                columns["num_updates"][logged], values[logged], color=colour,
                linestyle="-" if is_training else ":",
                marker="" if is_training and logged.sum() > _MARKERS_UP_TO else "o",
                markersize=4 if is_training else 6,
                markerfacecolor=colour if is_training else "white",
                label=label if len(runs) == 1 else f"{name}, {label}",
            )  # fmt: skip
    axes.set(title=panel.title, xlabel="update", ylabel=panel.unit)
    axes.set_xlim(left=0)
    axes.grid(True)
    if panel.column != "ema_decay":
        # From 0, so that a collapsed spread or a loss that hardly falls looks like one.
        axes.update_datalim([(0, 0)])
        axes.autoscale_view()
        axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", useOffset=False)


def _series(log: TrainingLog) -> Iterator["tuple[str, Dict[str, np.ndarray]]"]:
    """Columns by label: training, as finely as it was logged, then every validation set."""
    training = next((kind for kind in _TRAINING_KINDS if kind in log), None)
    if training is not None:
        yield "training", log[training]
    for kind in log:
        if kind not in _TRAINING_KINDS:
            yield "validation" if kind == "valid" else kind, log[kind]


def _add_legend(figure: Figure) -> None:
    handles: Dict[str, Line2D] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    legend = figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles))
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # names of runs may hold dollar signs
