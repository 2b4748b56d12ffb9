"""How well each class is recognised."""

import csv
import os
from typing import List, NamedTuple, Sequence, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .style import LINE_COLOURS, figure_style, shorten

COLUMNS = ("label", "average_precision", "num_positives")
MAX_NAMED = 60  # classes; of more, only the best and the worst are named
_NUM_EXTREMES = 25
_MAX_CHARACTERS = 32  # of a name


class ClassResult(NamedTuple):
    """A class: its name, its average precision in [0, 1] (NaN without positives), its clips."""

    label: str
    average_precision: float
    num_positives: int


def read_class_results(path: Union[str, "os.PathLike[str]"]) -> List[ClassResult]:
    """Read the table of classes that `eat evaluate` writes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it lacks one of the columns, holds no class, or a bad number; with its line.
    """
    path = os.fspath(path)
    with open(path, encoding="utf-8", errors="backslashreplace", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ["(none)"])
            raise ValueError(
                f"{path}:1: found the columns {found}, expected {', '.join(COLUMNS)}, as"
                " `eat evaluate` writes them"
            )
        results = [_parse(row, f"{path}:{reader.line_num}") for row in reader]
    if not results:
        raise ValueError(f"{path}: found no class, expected one per line")
    return results


def _parse(row: "dict[str, str]", location: str) -> ClassResult:
    label, precision, positives = (row[name] or "" for name in COLUMNS)
    try:
        result = ClassResult(label, float(precision or "nan"), int(positives))
    except ValueError as error:
        raise ValueError(
            f"{location}: found {precision!r} and {positives!r}, expected an average precision and"
            " a number of clips"
        ) from error
    if not (np.isnan(result.average_precision) or 0 <= result.average_precision <= 1):
        raise ValueError(
            f"{location}: found {precision!r}, expected an average precision in [0, 1]"
        )
    return result


@figure_style
def draw_classes(results: Sequence[ClassResult], title: str = "Classes") -> Figure:
    """Draw the average precision of classes: as bars, and against how many clips they have.

    Of more than `MAX_NAMED` classes the bars are those of the best and the worst.

    Args:
        results: the classes; those without positives are counted in the title and left out.
        title: what to write above.

    Raises:
        ValueError: no class has an average precision.
    """
    ranked = sorted(
        (result for result in results if not np.isnan(result.average_precision)),
        key=lambda result: -result.average_precision,
    )
    if not ranked:
        raise ValueError("results: found no class with positives, expected at least one")
    named = ranked
    if len(ranked) > MAX_NAMED:
        named = ranked[:_NUM_EXTREMES] + ranked[-_NUM_EXTREMES:]
    figure = Figure(figsize=(12, max(4.0, 0.22 * len(named) + 1.5)), layout="constrained")
    bars, points = figure.subplots(1, 2, width_ratios=(1.2, 1))
    mean = float(np.mean([result.average_precision for result in ranked]))
    left_out = len(results) - len(ranked)
    text = f"{title}: mean average precision {mean:.3f} over {len(ranked)} classes"
    figure.suptitle(
        text + (f"; {left_out} without positives left out" if left_out else ""),
        x=0.01, ha="left", parse_math=False,
    )  # fmt: skip
    _draw_bars(bars, named, mean, is_cut=len(named) < len(ranked))
    _draw_points(points, ranked, mean)
    return figure


def _draw_bars(axes: Axes, named: Sequence[ClassResult], mean: float, is_cut: bool) -> None:
    # A gap between the best and the worst when others lie between them.
    gap = np.where(np.arange(len(named)) < len(named) / 2, 0, 1) if is_cut else 0
    places = np.arange(len(named)) + gap
    axes.barh(
        places, [result.average_precision for result in named], color=LINE_COLOURS[0], height=0.75
    )
    names = [shorten(result.label, _MAX_CHARACTERS) for result in named]
    axes.set_yticks(places, names, fontsize="small", parse_math=False)
    axes.axvline(mean, color=LINE_COLOURS[1], linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(places[-1] + 0.6, -0.6), xlabel="average precision")
    heading = f"The best and the worst {_NUM_EXTREMES}" if is_cut else "All classes"
    axes.set_title(heading, fontsize="medium")
    axes.grid(True, axis="x")


def _draw_points(axes: Axes, ranked: Sequence[ClassResult], mean: float) -> None:
    numbers = [result.num_positives for result in ranked]
    axes.scatter(
        numbers,
        [result.average_precision for result in ranked],
        s=18,
        color=LINE_COLOURS[0],
        alpha=0.7,
        linewidths=0,
    )
    axes.axhline(mean, color=LINE_COLOURS[1], linewidth=1.2)
    axes.annotate(
        f"mean {mean:.3f}", (1, mean), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", color=LINE_COLOURS[1],
    )  # fmt: skip
    # Whole powers of ten, so that even a narrow range has two ticks to go by.
    powers = np.log10([min(numbers) / 1.2, max(numbers) * 1.2])
    axes.set(xscale="log", xlim=10.0 ** np.array([np.floor(powers[0]), np.ceil(powers[1])]))
    axes.set(ylim=(0, 1.02), xlabel="clips with the class", ylabel="average precision")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("All classes, by their number of clips", fontsize="medium")
    axes.grid(True)
