"""The paper's findings in small: blocks, the utterance loss, clones, CLS; on real recordings.

    python examples/real_recordings/prepare.py --out real_recordings/audio_2.56s --seconds 2.56
    python examples/paper_in_small/run.py --audio real_recordings/audio_2.56s --out paper_in_small

pre-trains small networks that differ in one setting each, with several seeds, and asks with
`eat probe` what their features hold of spoken digits, voices and instruments. An interrupted run
continues; what is finished is kept. At the end OUT holds results.md and figure.png. Networks with
other numbers of clones train for as long as the reference: an update of each is timed first.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eat.benchmark import UpdateCase, measure_update, run_cases
from eat.figures import save_figure
from eat.figures.style import LINE_COLOURS, figure_style
from eat.machine import choose_device, describe_hardware

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import (
    TASKS,
    as_markdown,
    experiment_arguments,
    make_manifests,
    mean_and_spread,
    pretrain,
    probe,
    step,
)

from eat.training.launch import TrainingError

POOLINGS = ("cls", "mean")
# 2.56 s are 16 x 8 patches: on a smaller grid a block of 5 x 5 is more than the visible fifth.
CLIP_FRAMES = 256
TIMED_UPDATES = 10


class Variant(NamedTuple):
    """A network to pre-train: what differs from `pretrain_tiny`.

    Attributes:
        name: what to call it.
        block: side of the visible blocks, in patches.
        weight: of the utterance loss.
        clones: of each clip.
    """

    name: str
    block: int = 3
    weight: float = 1.0
    clones: int = 4

    def settings(self) -> Dict[str, Any]:
        """Of the recipe."""
        return {
            "task.target_length": CLIP_FRAMES,
            "criterion.utterance_weight": self.weight,
            "model.num_clones": self.clones,
            "model.mask_block_size": self.block,
        }

    def num_updates(self, of_reference: int, update_ms: Mapping[str, float]) -> int:
        """How long to train, for the reference's time; `update_ms` from `time_updates`."""
        share = update_ms[str(REFERENCE.clones)] / update_ms[str(self.clones)]
        return max(1, round(of_reference * share))


class Question(NamedTuple):
    """Something that the paper answers, and the networks that answer it here, by their setting."""

    title: str
    variants: Dict[str, Variant]


REFERENCE = Variant("reference")
UNTRAINED = Variant("untrained")
QUESTIONS = (
    Question(
        "Side of visible blocks (patches)",
        {"1": Variant("block 1", block=1), "3": REFERENCE, "5": Variant("block 5", block=5)},
    ),
    Question(
        "Weight of the utterance loss",
        {"0": Variant("weight 0", weight=0.0), "1": REFERENCE}
        | {"192": Variant("weight 192", weight=192.0)},
    ),
    Question(
        "Clones, in equal time",
        {"1": Variant("clones 1", clones=1), "4": REFERENCE}
        | {"16": Variant("clones 16", clones=16)},
    ),
)
VARIANTS = tuple(
    dict.fromkeys([REFERENCE, *(v for question in QUESTIONS for v in question.variants.values())])
)

# Task -> pooling -> one accuracy per seed.
Accuracies = Dict[str, Dict[str, List[float]]]


class Outcome(NamedTuple):
    """What became of a network: how long it was trained, and what its features hold."""

    updates: int
    accuracies: Accuracies


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    parser = experiment_arguments(__doc__.splitlines()[0], seeds=[1, 2, 3], num_updates=500)
    args = parser.parse_args(argv)
    args.audio, args.out = args.audio.resolve(), args.out.resolve()
    try:
        outcomes = run_all(args)
    except (ValueError, OSError, TrainingError) as error:
        print(f"\n{error}\n\n(the same command continues)", file=sys.stderr)
        return 1
    table = make_table(outcomes)
    (args.out / "results.md").write_text(table + "\n")
    save_figure(draw(outcomes), args.out / "figure")
    print(f"\n== {args.out / 'results.md'}, figure.png, figure.svg\n\n{table}")
    return 0


def run_all(args: argparse.Namespace) -> Dict[str, Outcome]:
    """Pre-train and probe all networks; returns what became of each, "untrained" first."""
    manifests, record = args.out / "manifests", args.out / "statistics.json"
    statistics = step(record, "Manifests", make_manifests, args.audio, manifests)
    update_ms = step(args.out / "update_ms.json", "Time of an update", time_updates, args)
    outcomes = {UNTRAINED.name: Outcome(0, {})}
    for variant in VARIANTS:
        outcomes[variant.name] = Outcome(variant.num_updates(args.updates, update_ms), {})
    for seed in args.seeds:
        for variant in VARIANTS:
            folder = args.out / f"seed{seed}" / variant.name.replace(" ", "_")
            title, num_updates = f"{variant.name}, seed {seed}", outcomes[variant.name].updates
            inputs = (folder, args, statistics, variant, num_updates, seed)
            result = step(folder / "result.json", title, run_variant, *inputs)
            for task, by_encoder in result["probes"].items():
                for encoder, by_pooling in by_encoder.items():
                    name = UNTRAINED.name if encoder == "untrained" else variant.name
                    found = outcomes[name].accuracies.setdefault(task, {})
                    for pooling, value in by_pooling.items():
                        found.setdefault(pooling, []).append(value)
    return outcomes


def time_updates(args: argparse.Namespace) -> Dict[str, float]:
    """Milliseconds of an update with its reading, by number of clones; text, as in JSON."""
    settings = {"dataset.num_workers": 0, **dict(args.set)}  # as `run_training` has it
    cases = [
        UpdateCase(
            config="tiny",
            dtype="bf16" if describe_hardware().multiplies_bf16() else "fp32",
            clones=clones,
            frames=CLIP_FRAMES,
            settings=tuple(f"{key}={json.dumps(value)}" for key, value in settings.items()),
            data=str(args.out / "manifests" / "all"),
            device=choose_device("auto"),
            repeats=TIMED_UPDATES,
        )
        for clones in sorted({variant.clones for variant in VARIANTS})
    ]
    # The least, as whatever else runs on the machine can only add to it.
    return {
        str(found["clones"]): round(found["update_ms_minimum"] + found["data_wait_ms_minimum"], 1)
        for found in run_cases(measure_update, cases)
    }


def run_variant(
    folder: Path,
    args: argparse.Namespace,
    statistics: Mapping[str, float],
    variant: Variant,
    num_updates: int,
    seed: int,
) -> Dict[str, Any]:
    """Pre-train and probe one network; its settings, its time and its accuracies."""
    manifests, checkpoints = args.out / "manifests", folder / "pretraining"
    settings = {**variant.settings(), **dict(args.set)}
    timing = pretrain(checkpoints, manifests, statistics, num_updates, seed, settings)
    # The untrained encoder is the same for all.
    options = {"pooling": list(POOLINGS), "untrained": int(variant is REFERENCE)}
    checkpoint = checkpoints / "checkpoint_last.pt"
    probes = {
        task.name: probe(checkpoint, manifests, task, seed, folder / task.name, **options)
        for task in TASKS
    }
    return {"settings": settings, "updates": num_updates, **timing, "probes": probes}


def make_table(outcomes: Mapping[str, Outcome]) -> str:
    """Markdown: mean and standard deviation over seeds, the untrained network first."""
    columns = [(task.name, pooling) for task in TASKS for pooling in POOLINGS]
    rows = [["network", "updates", *(f"{task}: {pooling}" for task, pooling in columns)]]
    for name, (updates, accuracies) in outcomes.items():
        cells = [mean_and_spread(accuracies[task][pooling]) for task, pooling in columns]
        rows.append([name, str(updates), *cells])
    return as_markdown(rows)


@figure_style
def draw(outcomes: Mapping[str, Outcome]) -> Figure:
    """A panel per question: accuracies by setting, one small point per seed."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    panels = figure.subplots(1, len(QUESTIONS) + 1, sharey=True)
    training = Question("Pre-training", {"untrained": UNTRAINED, "reference": REFERENCE})
    for axes, question in zip(panels, (training, *QUESTIONS), strict=True):
        for number, task in enumerate(("digit", "voice")):
            for pooling in POOLINGS:
                shown = [outcomes[variant.name] for variant in question.variants.values()]
                values = [outcome.accuracies[task][pooling] for outcome in shown]
                draw_series(axes, values, f"{task}, {pooling}", LINE_COLOURS[number], pooling)
        axes.set_xticks(range(len(question.variants)), question.variants)
        axes.set(title=question.title, xmargin=0.2)
        axes.grid(True, axis="y")
    panels[0].set_ylabel("accuracy of a linear probe")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def draw_series(
    axes: Axes, values: Sequence[Sequence[float]], label: str, colour: str, pooling: str
) -> None:
    """Means over seeds as a line, CLS dashed, and every seed as a point."""
    means = [np.mean(of_setting) for of_setting in values]
    style = {"linestyle": "--", "markerfacecolor": "white"} if pooling == "cls" else {}
    axes.plot(means, color=colour, marker="o", label=label, **style)
    for place, of_setting in enumerate(values):
        axes.plot([place] * len(of_setting), of_setting, ".", color=colour, alpha=0.5, zorder=3)


if __name__ == "__main__":
    sys.exit(main())
