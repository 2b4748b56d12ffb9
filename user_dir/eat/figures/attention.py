"""What the CLS token of a block attends to in a clip."""

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage

from .spectrogram import SECONDS_PER_FRAME, draw_whole_clip, patch_grid
from .style import figure_style

ATTENTION_COLOURS = "cividis"  # made for colour-blind eyes
_CLIP_INCHES, _MEAN_INCHES, _HEADS_INCHES = 3.4, 2.2, 1.7  # heights of the rows
# A single patch that takes nearly all would leave the rest black.
_BRIGHTEST_PERCENTILE = 99.5


@figure_style
def draw_attention(
    log_mel: np.ndarray, attention: np.ndarray, patch_size: int = 16, title: str = "CLS attention"
) -> Figure:
    """Draw a clip and, below it, the attention of CLS: the mean over heads, then each head.

    All pictures of attention share one scale, the share of a head's attention that a patch gets.

    Args:
        log_mel: (T, F), normalised or not.
        attention: (heads, 1+L) as from `eat.nn.attention_maps.cls_attention`, CLS first.
        patch_size: P.
        title: what to write above.

    Raises:
        ValueError: T or F is not a multiple of P, or L is not their number of patches.
    """
    grid = patch_grid(log_mel, patch_size)
    num_patches = grid[0] * grid[1]
    if attention.ndim != 2 or attention.shape[1] != 1 + num_patches:
        raise ValueError(
            f"attention: found shape {attention.shape}, expected (heads, {1 + num_patches}) for a"
            f" grid of {grid[0]} x {grid[1]} patches"
        )
    num_columns = min(len(attention), 4)
    num_rows = -(-len(attention) // num_columns)
    heights = (_CLIP_INCHES + _MEAN_INCHES, _HEADS_INCHES * num_rows)
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    clip, mean = above.subplots(2, 1, height_ratios=(_CLIP_INCHES, _MEAN_INCHES))
    maps = 100 * attention[:, 1:].reshape(-1, *grid)  # %
    style = {
        "duration_seconds": log_mel.shape[0] * SECONDS_PER_FRAME,
        "brightest": np.percentile(maps, _BRIGHTEST_PERCENTILE),
    }
    draw_whole_clip(above, clip, log_mel, patch_size, title)
    image = _draw_map(mean, maps.mean(axis=0), **style)
    mean.set_title(
        f"Mean over heads; CLS gives {100 * attention[:, 0].mean():.1f} % to itself, the rest to"
        " the patches"
    )
    mean.set(xlabel="time (s)", ylabel="patch in\nfrequency")
    above.colorbar(image, ax=mean, label="share (%)", pad=0.02, extend="max")
    _draw_heads(below, maps, (num_rows, num_columns), **style)
    return figure


def _draw_heads(
    figure: SubFigure, maps: np.ndarray, layout: "tuple[int, int]", **style: float
) -> None:
    all_axes = list(figure.subplots(*layout, sharex=True, sharey=True, squeeze=False).flat)
    for number, (axes, one) in enumerate(zip(all_axes, maps, strict=False), start=1):
        _draw_map(axes, one, **style)
        axes.set_title(f"head {number}", fontsize="medium")
    for unused in all_axes[len(maps) :]:
        unused.remove()
    figure.supxlabel("time (s)", fontsize=rcParams["axes.labelsize"])
    figure.supylabel("patch in frequency", fontsize=rcParams["axes.labelsize"])


def _draw_map(
    axes: Axes, values: np.ndarray, duration_seconds: float, brightest: float
) -> AxesImage:
    width = values.shape[1]
    image = axes.imshow(
        values.T, extent=(0, duration_seconds, 0, width), origin="lower", aspect="auto",
        cmap=ATTENTION_COLOURS, interpolation="nearest", vmin=0, vmax=brightest,
    )  # fmt: skip
    axes.set_yticks(range(0, width + 1, max(1, width // 4)))
    axes.xaxis.set_major_formatter("{x:g}")  # short, as the panels are narrow
    return image
