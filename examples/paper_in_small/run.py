"""The paper's findings in small: blocks, the utterance loss, clones, CLS; on real recordings.

    python examples/real_recordings/prepare.py --out real_recordings/audio_2.56s --seconds 2.56
    python examples/paper_in_small/run.py --audio real_recordings/audio_2.56s --out paper_in_small

pre-trains small networks that differ in one setting each, with several seeds, and asks with
`eat probe` what their features hold of spoken digits, voices and instruments. An interrupted run
continues; what is finished is kept. At the end OUT holds results.md and figure.png. Networks with
other numbers of clones train for as long as the reference: an update of each is timed first.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, Mapping, NamedTuple, Optional, Sequence

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import (
    UNTRAINED,
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

COMPARISON = Comparison(
    common={
        # 2.56 s are 16 x 8 patches: on a smaller grid a block of 5 x 5 is more than the visible
        # fifth.
        "task.target_length": 256,
        "criterion.utterance_weight": 1.0,
        "model.num_clones": 4,
        "model.mask_block_size": 3,
    },
    variants={
        "reference": {},
        "block 1": {"model.mask_block_size": 1},
        "block 5": {"model.mask_block_size": 5},
        "weight 0": {"criterion.utterance_weight": 0.0},
        "weight 192": {"criterion.utterance_weight": 192.0},
        "clones 1": {"model.num_clones": 1},
        "clones 16": {"model.num_clones": 16},
    },
    timed=("clones 1", "clones 16"),
)


class Question(NamedTuple):
    """Something that the paper answers, and the networks that answer it here, by their setting."""

    title: str
    variants: Dict[str, str]


QUESTIONS = (
    Question("Pre-training", {"untrained": UNTRAINED, "reference": "reference"}),
    Question(
        "Side of visible blocks (patches)", {"1": "block 1", "3": "reference", "5": "block 5"}
    ),
    Question(
        "Weight of the utterance loss", {"0": "weight 0", "1": "reference", "192": "weight 192"}
    ),
    Question("Clones, in equal time", {"1": "clones 1", "4": "reference", "16": "clones 16"}),
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    parser = experiment_arguments(__doc__.splitlines()[0], seeds=[1, 2, 3], num_updates=500)
    return run_experiment(parser.parse_args(argv), compare_all)


def compare_all(args: argparse.Namespace) -> Result:
    """The networks' table and figure."""
    outcomes = compare(args, COMPARISON)
    return comparison_table(outcomes), draw(outcomes)


@figure_style
def draw(outcomes: Mapping[str, Outcome]) -> Figure:
    """A panel per question: accuracies by setting, one small point per seed."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    panels = figure.subplots(1, len(QUESTIONS), sharey=True)
    for axes, question in zip(panels, QUESTIONS, strict=True):
        for number, task in enumerate(("digit", "voice")):
            for pooling in COMPARISON.poolings:
                shown = [outcomes[name] for name in question.variants.values()]
                values = [outcome.accuracies[task][pooling] for outcome in shown]
                draw_series(axes, values, f"{task}, {pooling}", LINE_COLOURS[number], pooling)
        axes.set_xticks(range(len(question.variants)), question.variants)
        axes.set(title=question.title, xmargin=0.2)
        axes.grid(True, axis="y")
    panels[0].set_ylabel("accuracy of a linear probe")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    sys.exit(main())
