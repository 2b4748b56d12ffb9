"""What makes a small pre-training better in the same time: one change at a time, and together.

    python examples/real_recordings/prepare.py --out real_recordings/audio
    python examples/best_recipe/run.py --audio real_recordings/audio --out best_recipe

pre-trains `pretrain_tiny` and `pretrain_tiny_best` for the same time, and for a quarter of it
networks that differ from `pretrain_tiny` in one setting each, all with several seeds, and asks with
`eat probe` what their features hold of spoken digits, voices and instruments. An interrupted run
continues; what is finished is kept. At the end OUT holds results.md and figure.png.
"""

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Mapping, Optional, Sequence

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import (
    Comparison,
    Outcome,
    Result,
    compare,
    comparison_table,
    draw_series,
    experiment_arguments,
    run_experiment,
)

from eat.figures.style import LINE_COLOURS, figure_style

# Of pretrain_tiny_best.
BEST = {"dataset.batch_size": 12, "model.mask_block_size": 1, "model.ema_anneal_updates": 2000}
TOGETHER = Comparison({}, {"pretrain_tiny": {}, "best": BEST}, timed=["best"], methods=["gated"])
ONE_BY_ONE = {
    "12 clips": {"dataset.batch_size": 12},
    "12 clips, 4 clones": {"dataset.batch_size": 12, "model.num_clones": 4},
    "blocks of one patch": {"model.mask_block_size": 1},
    "faster teacher": {"model.ema_decay": 0.99, "model.ema_end_decay": 0.999},
}
ALONE = Comparison({}, {"pretrain_tiny": {}, **ONE_BY_ONE}, timed=[*ONE_BY_ONE][:2])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    parser = experiment_arguments(__doc__.splitlines()[0], seeds=[1, 2, 3], num_updates=2000)
    return run_experiment(parser.parse_args(argv), compare_all)


def compare_all(args: argparse.Namespace) -> Result:
    """Both comparisons, that of single settings in a quarter of the time."""
    together = compare(args, TOGETHER)
    shorter = {"out": args.out / "one_by_one", "updates": max(1, args.updates // 4)}
    alone = compare(argparse.Namespace(**{**vars(args), **shorter}), ALONE)
    tables = f"{comparison_table(together)}\n\n{comparison_table(alone)}"
    return tables, draw(together, alone)


@figure_style
def draw(*comparisons: Mapping[str, Outcome]) -> Figure:
    """A panel per comparison: what the mean of the patches holds, one small point per seed."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    ratios = [len(outcomes) for outcomes in comparisons]
    panels = figure.subplots(1, len(comparisons), sharey=True, width_ratios=ratios)
    for axes, outcomes in zip(panels, comparisons, strict=True):
        for number, task in enumerate(("digit", "voice")):
            values = [outcome.accuracies[task]["mean"] for outcome in outcomes.values()]
            # There is nothing between two networks.
            draw_series(axes, values, task, LINE_COLOURS[number], "mean", joined=False)
        axes.set_xticks(range(len(outcomes)), [textwrap.fill(name, 13) for name in outcomes])
        axes.grid(True, axis="y")
    panels[0].set_title("In equal time")
    panels[1].set_title("One setting at a time, in a quarter of that time")
    panels[0].set_ylabel("accuracy of a linear probe")
    panels[0].legend()
    return figure


if __name__ == "__main__":
    sys.exit(main())
