"""In which layers of an encoder a probe found the labels."""

from typing import Any, Mapping

import numpy as np
from matplotlib.figure import Figure

from .style import LINE_COLOURS, add_note, figure_style, make_panels, shorten

_NOTE = (
    "What to look for: layers whose bars are above the dashed line, where every layer has the same"
    " weight, hold more of the labels than others. With random weights nothing is learnt."
)
_MAX_CHARACTERS = 60


@figure_style
def draw_where(report: Mapping[str, Any]) -> Figure:
    """Draw the layers' weights in probe.json: a panel per encoder, a bar per layer and method."""
    results = [result for result in report["results"] if "where" in result]
    if not results:
        raise ValueError("results: found no probe of all tokens, expected attentive or gated")
    encoders = [*dict.fromkeys(result["encoder"] for result in results)]
    methods = [*dict.fromkeys(result["method"] for result in results)]
    figure = Figure(figsize=(9, 1 + 2.6 * len(encoders)), layout="constrained")
    panels = make_panels(figure, len(encoders), 1, sharex=True, sharey=True)
    for axes, encoder in zip(panels, encoders, strict=True):
        for result in (result for result in results if result["encoder"] == encoder):
            weights, number = result["where"]["layers"], methods.index(result["method"])
            width = 0.8 / len(methods)
            # The mean of all blocks is no block: left of the first.
            places = np.array([0 if name == "mean" else int(name) for name in weights])
            parts = ", ".join(f"{k} {v:.2f}" for k, v in result["where"]["parts"].items())
            label = f"{result['method']} {result['mean']:.3f} ({parts})"
            left = places - 0.4 + width * number
            colour = LINE_COLOURS[number]
            axes.bar(left, [*weights.values()], width, align="edge", label=label, color=colour)
            axes.axhline(1 / len(weights), color=colour, linestyle="--", linewidth=1)
        axes.set_title(shorten(encoder, _MAX_CHARACTERS), fontsize="medium")
        axes.set(ylabel="weight")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize="small")
    panels[-1].set(xlabel="layer")
    add_note(figure, _NOTE)
    return figure
