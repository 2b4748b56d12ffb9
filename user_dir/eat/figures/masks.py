"""What mask settings do: how much the blocks keep, where they lie, and a clone of each."""

from typing import Mapping, NamedTuple, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from eat.nn.masking import MaskingConfig, draw_blocks, inverse_block_masks

from .mask_statistics import MaskStatistics, measure_masks
from .style import HIDDEN_COLOUR, LINE_COLOURS, figure_style

COVERAGE_COLOURS = "cividis"  # made for colour-blind eyes
# What became of each patch of a clone; the numbers are those in its picture.
HIDDEN, IN_BLOCK, ADDED, REMOVED = range(4)
_FATES = {
    HIDDEN: ("hidden", HIDDEN_COLOUR),
    IN_BLOCK: ("visible, in a block", LINE_COLOURS[0]),
    ADDED: ("visible, added to make the number equal", LINE_COLOURS[4]),
    REMOVED: ("hidden, though in a block", LINE_COLOURS[1]),
}


class MaskSetting(NamedTuple):
    """A setting on a grid, as measured, and one clone of it.

    Attributes:
        statistics: of many clones.
        clone: (H, W) int, what became of each patch: `HIDDEN`, `IN_BLOCK`, `ADDED` or `REMOVED`.
    """

    statistics: MaskStatistics
    clone: np.ndarray


def examine_masks(
    config: MaskingConfig, grid: Tuple[int, int], num_draws: int = 10_000, seed: int = 1
) -> MaskSetting:
    """Measure a setting and draw one clone.

    Raises:
        ValueError: the setting is impossible on this grid.
    """
    statistics = measure_masks(config, grid, num_draws, np.random.default_rng(seed))
    # Twice the same blocks: masks are made of them by drawing on.
    in_block = draw_blocks(config, grid, np.random.default_rng(seed))[0]
    visible = ~inverse_block_masks(config, grid, np.random.default_rng(seed))[0]
    fates = np.select(
        [visible & in_block, visible, in_block], [IN_BLOCK, ADDED, REMOVED], default=HIDDEN
    )
    return MaskSetting(statistics, fates.reshape(grid))


@figure_style
def draw_masks(settings: Mapping[str, MaskSetting]) -> Figure:
    """Draw mask settings below each other.

    Per setting: how many patches the blocks of a clone hold before random patches are shown or
    hidden to make it V in each; how often each patch is in a block; and one clone.

    Args:
        settings: from `examine_masks`, by the name to show.

    Raises:
        ValueError: there is no setting.
    """
    if not settings:
        raise ValueError("settings: found none, expected at least one")
    figure = Figure(figsize=(12, 2.9 * len(settings) + 0.4), layout="constrained")
    rows = figure.subfigures(len(settings), 1, squeeze=False)[:, 0]
    for row, (name, setting) in zip(rows, settings.items(), strict=True):
        _draw_setting(row, name, setting)
    figure.legend(
        handles=[Patch(facecolor=colour, label=label) for label, colour in _FATES.values()],
        loc="outside lower right", ncols=4, fontsize="small",
    )  # fmt: skip
    return figure


def _draw_setting(figure: SubFigure, name: str, setting: MaskSetting) -> None:
    counts, coverage, clone = figure.subplots(1, 3, width_ratios=(1, 1.25, 1.1))
    figure.suptitle(name, x=0.01, ha="left", fontsize="large")
    _draw_counts(counts, setting.statistics)
    _draw_coverage(figure, coverage, setting.statistics.coverage)
    colours = ListedColormap([colour for _, colour in _FATES.values()])
    _draw_grid(clone, setting.clone, "One clone", cmap=colours, vmin=-0.5, vmax=len(_FATES) - 0.5)


def _draw_counts(axes: Axes, statistics: MaskStatistics) -> None:
    counts, target = statistics.counts, statistics.num_visible
    edges = np.arange(counts.min() - 0.5, counts.max() + 1)
    if len(edges) > 80:  # bars of several patches each, as wide as can be told apart
        edges = edges[:: -(-len(edges) // 60)]
        edges = np.append(edges, edges[-1] + edges[1] - edges[0])
    shares = np.full(len(counts), 100 / len(counts))
    axes.hist(counts, edges, weights=shares, color=LINE_COLOURS[0])
    axes.axvline(target, color=LINE_COLOURS[1], linewidth=1.5)
    axes.annotate(
        f"V = {target}", (target, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
        textcoords="offset points", va="top", color=LINE_COLOURS[1],
    )  # fmt: skip
    axes.margins(y=0.2)  # room for "V" above the bars
    blocks = (
        "1 block holds" if statistics.num_blocks == 1 else f"{statistics.num_blocks} blocks hold"
    )
    axes.set_title(f"{blocks} {counts.mean():.1f} ± {counts.std():.1f} patches", fontsize="medium")
    axes.set(xlabel="patches in blocks", ylabel="clones (%)")


def _draw_coverage(figure: SubFigure, axes: Axes, coverage: np.ndarray) -> None:
    image = _draw_grid(
        axes, 100 * coverage, "How often a patch is in a block", cmap=COVERAGE_COLOURS, vmin=0
    )
    figure.colorbar(image, ax=axes, label="clones (%)", pad=0.02)


def _draw_grid(axes: Axes, values: np.ndarray, title: str, **colours):
    height, width = values.shape
    image = axes.imshow(
        values.T, origin="lower", interpolation="nearest", extent=(0, height, 0, width),
        aspect="auto", **colours,
    )  # fmt: skip
    axes.set_title(title, fontsize="medium")
    axes.set(xlabel="patch in time", ylabel="patch in frequency")
    axes.set_yticks(range(0, width + 1, max(1, width // 4)))
    return image
