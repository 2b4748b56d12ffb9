"""One clip as the network meets it: spectrogram, patch grid, and what each clone hides."""

from typing import Tuple

import numpy as np
from matplotlib import rcParams
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure

from .spectrogram import (
    TICKS_HZ,
    draw_patch_grid,
    draw_spectrogram,
    draw_whole_clip,
    label_frequencies,
    patch_grid,
)
from .style import HIDDEN_COLOUR, figure_style

_CLIP_INCHES, _CLONES_INCHES = 3.8, 1.8  # heights of the clip and of a row of clones


@figure_style
def draw_clip(
    log_mel: np.ndarray, masks: np.ndarray, patch_size: int = 16, title: str = "One clip"
) -> Figure:
    """Draw a clip's spectrogram with its patch grid, and below it what each clone shows.

    Args:
        log_mel: (T, F), normalised or not.
        masks: (K, L) bool, True = hidden, time-major as in `eat.nn.masking`.
        patch_size: P.
        title: what to write above.

    Raises:
        ValueError: T or F is not a multiple of P, or L is not their number of patches.
    """
    grid = _grid(log_mel, masks, patch_size)
    # Up to four clones side by side; those of clips beyond 10 s get a row each to be legible.
    num_columns = min(len(masks), max(1, min(4, 128 // grid[0])))
    num_rows = -(-len(masks) // num_columns)
    heights = (_CLIP_INCHES, _CLONES_INCHES * num_rows)
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    draw_whole_clip(above, above.subplots(), log_mel, patch_size, title)
    _draw_clones(below, log_mel, masks.reshape(-1, *grid), (num_rows, num_columns))
    return figure


def _grid(log_mel: np.ndarray, masks: np.ndarray, patch_size: int) -> Tuple[int, int]:
    grid = patch_grid(log_mel, patch_size)
    if masks.ndim != 2 or masks.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"masks: found shape {masks.shape}, expected (K, {grid[0] * grid[1]}) for a grid of"
            f" {grid[0]} x {grid[1]} patches"
        )
    return grid


def _draw_clones(
    figure: SubFigure, log_mel: np.ndarray, masks: np.ndarray, layout: Tuple[int, int]
) -> None:
    num_visible, num_patches = int((~masks[0]).sum()), masks[0].size
    figure.suptitle(
        f"What the student sees of it: {num_visible} of {num_patches} patches in each clone;"
        " the grey ones are to be predicted",
        x=0.01, ha="left", fontsize=rcParams["axes.titlesize"],
    )  # fmt: skip
    all_axes = list(figure.subplots(*layout, sharex=True, sharey=True, squeeze=False).flat)
    for number, (axes, mask) in enumerate(zip(all_axes, masks, strict=False), start=1):
        image = draw_spectrogram(axes, log_mel)
        hidden = np.ma.masked_equal(mask.T, False)
        axes.imshow(
            hidden, extent=image.get_extent(), origin="lower", aspect="auto",
            cmap=ListedColormap([HIDDEN_COLOUR]), interpolation="nearest",
        )  # fmt: skip
        label_frequencies(axes, TICKS_HZ[1::2], log_mel.shape[1])
        draw_patch_grid(axes, log_mel.shape, log_mel.shape[1] // mask.shape[1])
        axes.set_title(f"clone {number}", fontsize="medium")
    for unused in all_axes[len(masks) :]:
        unused.remove()
    figure.supxlabel("time (s)", fontsize="medium")
    figure.supylabel("frequency (Hz)", fontsize="medium")
