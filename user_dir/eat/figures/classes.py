"""How well each class is recognised, and which classes are taken for which."""

import csv
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from eat.files import FilePath

from .style import LINE_COLOURS, figure_style, shorten

MAX_NAMED = 60  # classes; of more, bars name the best and the worst, and a matrix names none
_NUM_EXTREMES = 25
_MAX_NUMBERED = 20  # classes; of more, the numbers in a matrix would overlap
_MAX_CHARACTERS = 32  # of a name
_INCHES_PER_CLASS = 0.22


class ClassResult(NamedTuple):
    """A class: its name, its average precision in [0, 1] (NaN without positives), its positives."""

    label: str
    average_precision: float
    num_positives: int


def draw_evaluation(report: Mapping[str, Any]) -> Dict[str, Figure]:
    """Draw metrics.json: "classes" if any has clips, "confusion" if each clip has one class."""
    figures = {}
    rows = [[row[name] for name in ClassResult._fields] for row in report["classes"]]
    results = [ClassResult(label, float(np.array(ap, float)), n) for label, ap, n in rows]
    if any(result.num_positives for result in results):
        figures["classes"] = draw_classes(results, report["split"])
    if report["confusion_matrix"] is not None:
        names = [result.label for result in results]
        figures["confusion"] = draw_confusion(np.array(report["confusion_matrix"]), names)
    return figures


def read_class_results(path: FilePath) -> List[ClassResult]:
    """Read the table of classes that `eat evaluate` writes; a ValueError names a bad line."""
    columns, results = ClassResult._fields, []
    with open(path, encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        if not {*columns} <= {*names}:
            raise ValueError(
                f"{path}:1: found the columns {', '.join(names) or '(none)'}, expected"
                f" {', '.join(columns)}, as `eat evaluate` writes them"
            )
        for row in reader:
            label, precision, positives = (row[name] or "" for name in columns)
            try:
                result = ClassResult(label, float(precision or "nan"), int(positives))
                is_possible = 0 <= result.average_precision <= 1 and result.num_positives > 0
                if not (is_possible or np.isnan(result.average_precision)):
                    raise ValueError(precision)
                results.append(result)
            except ValueError as error:
                raise ValueError(
                    f"{path}:{reader.line_num}: found {precision!r} and {positives!r}, expected an"
                    " average precision in [0, 1] and a number of positives"
                ) from error
    if not results:
        raise ValueError(f"{path}: found no class, expected one per line")
    return results


@figure_style
def draw_classes(results: Sequence[ClassResult], title: str = "Classes") -> Figure:
    """Draw the average precision of classes: as bars, and against how many positives they have.

    Of more than `MAX_NAMED` classes the bars are those of the best and the worst.
    Classes without positives are counted in the title and left out.
    """
    with_positives = [result for result in results if not np.isnan(result.average_precision)]
    ranked = sorted(with_positives, key=lambda result: -result.average_precision)
    if not ranked:
        raise ValueError("results: found no class with positives, expected at least one")
    is_cut = len(ranked) > MAX_NAMED
    named = ranked[:_NUM_EXTREMES] + ranked[-_NUM_EXTREMES:] if is_cut else ranked
    height = max(4.0, _INCHES_PER_CLASS * len(named) + 1.5)
    figure = Figure(figsize=(12, height), layout="constrained")
    bars, points = figure.subplots(1, 2, width_ratios=(1.2, 1))
    mean = float(np.mean([result.average_precision for result in ranked]))
    text = f"{title}: mean average precision {mean:.3f} over {len(ranked)} classes"
    if len(ranked) < len(results):
        text += f"; {len(results) - len(ranked)} without positives left out"
    figure.suptitle(text, x=0.01, ha="left")
    _draw_bars(bars, named, mean, is_cut)
    _draw_points(points, ranked, mean)
    return figure


def _draw_bars(axes: Axes, named: Sequence[ClassResult], mean: float, is_cut: bool) -> None:
    places = np.arange(len(named))
    if is_cut:  # a gap between the best and the worst, as others lie between them
        places[len(named) // 2 :] += 1
    labels, precisions, _ = zip(*named, strict=True)
    axes.barh(places, precisions, color=LINE_COLOURS[0], height=0.75)
    names = [shorten(label, _MAX_CHARACTERS) for label in labels]
    axes.set_yticks(places, names, fontsize="small")
    axes.axvline(mean, color=LINE_COLOURS[1], linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(places[-1] + 0.6, -0.6), xlabel="average precision")
    heading = f"The best and the worst {_NUM_EXTREMES}" if is_cut else "All classes"
    axes.set_title(heading, fontsize="medium")
    axes.grid(True, axis="x")


def _draw_points(axes: Axes, ranked: Sequence[ClassResult], mean: float) -> None:
    _, precisions, numbers = zip(*ranked, strict=True)
    axes.scatter(numbers, precisions, s=18, color=LINE_COLOURS[0], alpha=0.7, linewidths=0)
    axes.axhline(mean, color=LINE_COLOURS[1], linewidth=1.2)
    axes.annotate(
        f"mean {mean:.3f}", (1, mean), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", color=LINE_COLOURS[1],
    )  # fmt: skip
    # Whole powers of ten, so that even a narrow range has two ticks to go by.
    powers = np.log10([min(numbers) / 1.2, max(numbers) * 1.2])
    axes.set(xscale="log", xlim=10.0 ** np.array([np.floor(powers[0]), np.ceil(powers[1])]))
    axes.set(ylim=(0, 1.02), xlabel="clips or steps with the class", ylabel="average precision")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("All classes, by their number of positives", fontsize="medium")
    axes.grid(True)


@figure_style
def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw clips (C, C) by class (rows) and predicted class; the shade is the share of a row."""
    number = len(names)
    if counts.shape != (number, number):
        raise ValueError(f"counts: found shape {counts.shape}, expected {number} x {number}")
    side = min(14.0, max(4.5, _INCHES_PER_CLASS * number + 2))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the clips of the class", shrink=0.7)
    if number <= MAX_NAMED:
        axes.set_xticks(range(number), names, rotation=90, fontsize="small")
        axes.set_yticks(range(number), names, fontsize="small")
    for row, column in np.argwhere(counts > 0) if number <= _MAX_NUMBERED else ():
        axes.text(
            column, row, f"{counts[row, column]}", ha="center", va="center", fontsize="small",
            color="white" if shares[row, column] > 0.5 else "black",
        )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="class")
    share_right = counts.trace() / max(1, counts.sum())
    right = f"{share_right:.1%} of {counts.sum()} clips on the diagonal"
    # In two lines, as the figure of few classes is narrow.
    figure.suptitle(f"Confusion matrix\n{right}", x=0.02, ha="left", fontsize="large")
    return figure
