"""What mask settings do: how much the blocks keep, where they lie, and a clone of each."""

from dataclasses import dataclass, replace
from typing import Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from eat.nn import masking
from eat.nn.masking import MaskingConfig

from .style import HIDDEN_COLOUR, LINE_COLOURS, SHARE_COLOURS, add_note, figure_style, show_patches

# What became of each patch of a clone; the numbers are those in its picture.
HIDDEN, IN_BLOCK, ADDED, REMOVED = range(4)
_FATES = {
    HIDDEN: ("hidden", HIDDEN_COLOUR),
    IN_BLOCK: ("visible, in a block", LINE_COLOURS[0]),
    ADDED: ("visible, added to make the number equal", LINE_COLOURS[4]),
    REMOVED: ("hidden, though in a block", LINE_COLOURS[1]),
}
_NOTE = (
    "What to look for: bars near V, so that few patches are shown or hidden at random; an even map,"
    " so that no part of clips is always hidden; and in the clone, connected visible blocks."
)


@dataclass(frozen=True)
class MaskSetting:
    """A mask setting on a grid: statistics of many clones, and one of them.

    The statistics are those of the blocks, before random patches are shown or hidden to give all
    clones the same number.
    """

    name: str  # the setting in words
    num_blocks: int  # visible blocks drawn per clone
    num_visible: int  # V, the patches that each clone keeps in the end
    counts: np.ndarray  # (N,) int64, patches in the blocks of each clone
    coverage: np.ndarray  # (H, W), share of the clones in which a patch is in a block
    share_below: float  # share of the clones whose blocks hold fewer than V patches
    mean_added: float  # patches outside all blocks that such a clone shows in addition
    mean_removed: float  # patches of its blocks that a clone with more than V hides
    clone: np.ndarray  # (H, W) int, what became of each patch: HIDDEN, IN_BLOCK, ADDED or REMOVED


def examine_masks(
    config: MaskingConfig, grid: Tuple[int, int], num_draws: int = 10_000, seed: int = 1
) -> MaskSetting:
    """Draw the blocks of many clones on a grid (H, W) and count, and draw one clone."""
    masking.check_masking(config, grid)
    many = replace(config, num_clones=num_draws)
    in_blocks = masking.draw_blocks(many, grid, np.random.default_rng(seed))
    # The same seed for both, so that both draw the same blocks.
    in_block = masking.draw_blocks(config, grid, np.random.default_rng(seed))[0]
    visible = ~masking.inverse_block_masks(config, grid, np.random.default_rng(seed))[0]
    fates = np.select(
        [visible & in_block, visible, in_block], [IN_BLOCK, ADDED, REMOVED], default=HIDDEN
    )
    num_visible = masking.num_visible_patches(config, in_blocks.shape[1])
    counts = in_blocks.sum(axis=1)
    missing = num_visible - counts
    added, removed = missing[missing > 0], -missing[missing < 0]
    size = config.mask_block_size
    return MaskSetting(
        name=f"Blocks of {size} x {size}, {100 * config.mask_ratio:g} % hidden",
        num_blocks=masking.num_blocks(config, in_blocks.shape[1]),
        num_visible=num_visible,
        counts=counts,
        coverage=in_blocks.mean(axis=0).reshape(grid),
        share_below=len(added) / num_draws,
        mean_added=float(added.mean()) if len(added) else 0.0,
        mean_removed=float(removed.mean()) if len(removed) else 0.0,
        clone=fates.reshape(grid),
    )


@figure_style
def draw_masks(settings: Sequence[MaskSetting]) -> Figure:
    """Draw mask settings below each other.

    Per setting: how many patches the blocks of a clone hold before random patches are shown or
    hidden to make it V in each; how often each patch is in a block; and one clone.
    """
    if not settings:
        raise ValueError("settings: found none, expected at least one")
    figure = Figure(figsize=(12, 2.9 * len(settings) + 0.4), layout="constrained")
    rows = figure.subfigures(len(settings), 1, squeeze=False)[:, 0]
    for row, setting in zip(rows, settings, strict=True):
        _draw_setting(row, setting)
    figure.legend(
        handles=[Patch(facecolor=colour, label=label) for label, colour in _FATES.values()],
        loc="outside lower right", ncols=4, fontsize="small",
    )  # fmt: skip
    add_note(figure, _NOTE)
    return figure


def _draw_setting(figure: SubFigure, setting: MaskSetting) -> None:
    counts, coverage, clone = figure.subplots(1, 3, width_ratios=(1, 1.25, 1.1))
    figure.suptitle(setting.name, x=0.01, ha="left", fontsize="large")
    _draw_counts(counts, setting)
    height = len(setting.clone)
    shares = 100 * setting.coverage
    image = show_patches(coverage, shares, height, cmap=SHARE_COLOURS, vmin=0)
    figure.colorbar(image, ax=coverage, label="clones (%)", pad=0.02)
    colours = ListedColormap([colour for _, colour in _FATES.values()])
    show_patches(clone, setting.clone, height, cmap=colours, vmin=-0.5, vmax=len(_FATES) - 0.5)
    for axes, title in ((coverage, "How often a patch is in a block"), (clone, "One clone")):
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="patch in time", ylabel="patch in frequency")


def _draw_counts(axes: Axes, setting: MaskSetting) -> None:
    counts, target = setting.counts, setting.num_visible
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
    blocks = "1 block holds" if setting.num_blocks == 1 else f"{setting.num_blocks} blocks hold"
    axes.set_title(f"{blocks} {counts.mean():.1f} ± {counts.std():.1f} patches", fontsize="medium")
    axes.set(xlabel="patches in blocks", ylabel="clones (%)")
