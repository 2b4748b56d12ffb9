"""How long the clips of a data set are."""

from typing import Mapping, Optional

import numpy as np
from matplotlib.figure import Figure

from .style import LINE_COLOURS, figure_style

_NUM_BARS = 40


@figure_style
def draw_lengths(
    seconds: Mapping[str, np.ndarray], target_seconds: Optional[float] = None
) -> Figure:
    """Draw the distribution of the lengths of clips, one line per split.

    Args:
        seconds: lengths (N,) of clips by split; splits without any are left out.
        target_seconds: to what clips are padded or cropped.

    Raises:
        ValueError: there is no clip.
    """
    seconds = {name: values for name, values in seconds.items() if len(values)}
    if not seconds:
        raise ValueError("seconds: found no clip, expected at least one")
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(seconds.values()))
    # A few very long recordings would squeeze all others into one bar.
    edges = np.linspace(0, max(np.percentile(everything, 99.5), target_seconds or 0), _NUM_BARS + 1)
    for colour, (name, values) in zip(LINE_COLOURS, seconds.items(), strict=False):
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
