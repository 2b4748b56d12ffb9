"""Which classes are taken for which."""

from typing import Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import figure_style

MAX_NAMED = 60  # classes; of more, the names would overlap
MAX_NUMBERED = 20  # classes; of more, the numbers would
_INCHES_PER_CLASS = 0.22
_COLOURS = "Blues"


@figure_style
def draw_confusion(
    counts: np.ndarray, names: Sequence[str], title: str = "Confusion matrix"
) -> Figure:
    """Draw a confusion matrix: the shade is the share of the clips of a class, by row.

    Args:
        counts: (C, C) clips by their class (rows) and the class predicted (columns).
        names: the classes.
        title: what to write above.

    Raises:
        ValueError: the shape is another one.
    """
    num_classes = len(names)
    if counts.shape != (num_classes, num_classes):
        raise ValueError(
            f"counts: found shape {counts.shape}, expected {num_classes} x {num_classes}"
        )
    side = min(14.0, max(4.5, _INCHES_PER_CLASS * num_classes + 2))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    image = axes.imshow(shares, cmap=_COLOURS, vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the clips of the class", shrink=0.7)
    if num_classes <= MAX_NAMED:
        axes.set_xticks(range(num_classes), names, rotation=90, fontsize="small", parse_math=False)
        axes.set_yticks(range(num_classes), names, fontsize="small", parse_math=False)
    if num_classes <= MAX_NUMBERED:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, f"{counts[row, column]}", ha="center", va="center", color=colour,
                fontsize="small",
            )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="class")
    share_right = counts.trace() / max(1, counts.sum())
    right = f"{share_right:.1%} of {counts.sum()} clips on the diagonal"
    # In two lines, as the figure of few classes is narrow.
    figure.suptitle(f"{title}\n{right}", x=0.02, ha="left", fontsize="large", parse_math=False)
    return figure
