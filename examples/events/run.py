"""What pre-training is worth to find words: fine-tuned in time from it, and from nothing.

    python examples/events/mix.py --out events/data
    python examples/events/run.py --data events/data --out events/run

pre-trains `pretrain_tiny` on recordings without labels, fine-tunes it with `finetune_events_tiny`
on 6 minutes with labels, and measures on recordings of other voices and drum kits how well it finds
words, against a network that was not pre-trained. Needs the extra `[events]`. An interrupted run
continues; what is finished is kept.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import (
    Result,
    as_markdown,
    experiment_arguments,
    mean_and_spread,
    run_experiment,
    run_training,
    step,
)
from matplotlib.figure import Figure

import eat
from eat.data.split import open_split
from eat.data.statistics import measure_statistics
from eat.evaluation import evaluate_checkpoint
from eat.evaluation.event_metrics import require_event_metrics
from eat.figures.style import figure_style

STARTS = ("pre-trained", "untrained")
METRICS = {
    "event_f1": "event F1",
    "psds": "PSDS",
    "psds_macro": "PSDS, mean over classes",
    "mAP": "mAP of steps",
}
FRAMES = 128  # 1.28 s, of the clips to train on
ENCODER_SIZES = ("model.embed_dim", "model.depth", "model.num_heads")
SHOWN, SHOWN_SECONDS = 1, (20.0, 35.0)  # what the figure shows of the test recordings


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    parser = experiment_arguments(
        __doc__.splitlines()[0], [1, 2, 3], 1000, source="--data", writer="mix.py"
    )
    parser.add_argument(
        "--finetuning-updates", type=int, default=400, help="(default: %(default)s)"
    )
    return run_experiment(parser.parse_args(argv), compare_starts)


def compare_starts(args: argparse.Namespace) -> Result:
    """The table of both networks, and a figure of what they find."""
    require_event_metrics()
    statistics = step(args.out / "statistics.json", "Statistics", measure, args.data)
    pretrained = args.out / "pretraining"
    step(args.out / "pretraining.json", "Pre-training", pretrain, args, statistics, pretrained)
    results = {start: [run_seed(args, statistics, start, s) for s in args.seeds]
               for start in STARTS}  # fmt: skip
    return as_markdown(table(results)), draw(args)


def measure(data: Path) -> Dict[str, float]:
    """Mean and standard deviation of the recordings without labels."""
    statistics = measure_statistics(str(data / "unlabelled.tsv"))
    return {"mean": round(statistics.mean, 3), "std": round(statistics.std, 3)}


def pretrain(args: argparse.Namespace, statistics: Mapping[str, float], folder: Path) -> Any:
    """Pre-train on the recordings without labels."""
    count = args.updates
    settings = {
        "task.data": args.data,
        "task.mean": statistics["mean"],
        "task.std": statistics["std"],
        "task.target_length": FRAMES,
        "task.crop": "random",
        "dataset.train_subset": "unlabelled",
        "dataset.batch_size": 12,
        "dataset.disable_validation": True,
        "checkpoint.save_interval_updates": count,
        "lr_scheduler.warmup_updates": count // 10,
        "optimization.max_update": count,
    }
    return run_training("pretrain_tiny", folder, {**settings, **dict(args.set)})


def run_seed(
    args: argparse.Namespace, statistics: Mapping[str, float], start: str, seed: int
) -> Dict[str, Any]:
    """Fine-tune and measure; returns the metrics on the test recordings."""
    folder = args.out / f"{start}_{seed}"
    title = f"Fine-tuning, {start}, seed {seed}"
    inputs = (args, statistics, start, seed, folder)
    step(folder / "finetuned.json", title, finetune, *inputs)
    title = f"Test, {start}, seed {seed}"
    return step(folder / "result.json", title, evaluate, args.data, folder)


def finetune(
    args: argparse.Namespace, statistics: Mapping[str, float], start: str, seed: int, folder: Path
) -> Dict[str, Any]:
    """Train with labels in time for a fixed number of updates."""
    count = args.finetuning_updates
    sizes = {key: value for key, value in args.set if key in ENCODER_SIZES}
    beginning = {
        "untrained": {"model.init_from": None, "model.layer_decay": 1.0},
        "pre-trained": {"model.init_from": args.out / "pretraining" / "checkpoint_last.pt"},
    }
    settings = {
        "common.seed": seed,
        "task.data": args.data,
        "task.mean": statistics["mean"],
        "task.std": statistics["std"],
        "task.target_length": FRAMES,
        # No augmentation in so short a training, see README.md.
        "task.roll": False,
        "task.spec_augment_ratio": 0.0,
        "model.drop_path": 0.0,
        "checkpoint.save_interval": count,  # epochs
        "dataset.disable_validation": True,
        "lr_scheduler.warmup_updates": count // 10,
        "optimization.max_update": count,
    }
    return run_training("finetune_events_tiny", folder, {**settings, **sizes, **beginning[start]})


def evaluate(data: Path, folder: Path) -> Dict[str, float]:
    """The metrics of the test recordings.

    Thresholds and median filter are chosen on the validation recordings.
    """
    checkpoint = str(folder / "checkpoint_last.pt")
    evaluation = evaluate_checkpoint(checkpoint, str(data), "test", tune_split="valid")
    evaluation.write(str(folder))
    return dict(evaluation.metrics)


def table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> List[List[str]]:
    """The metrics of each start, over the seeds."""
    rows = [[start, *(mean_and_spread([one[key] for one in seeds]) for key in METRICS)]
            for start, seeds in results.items()]  # fmt: skip
    return [["", *METRICS.values()], *rows]


@figure_style
def draw(args: argparse.Namespace) -> Figure:
    """A part of a test recording, its events, and those that are found in it."""
    begin, end = SHOWN_SECONDS
    split = open_split(str(args.data), "test", labelled=False)
    labels, path = [label.name for label in split.descriptors], split.paths[SHOWN]
    spans = {"events": [(*times, labels[label]) for *times, label in split.events.events(SHOWN)]}
    for start in STARTS:
        folder = args.out / f"{start}_{args.seeds[0]}"
        found = eat.tag_over_time(path, folder / "checkpoint_last.pt", folder / "thresholds.json")
        spans[start] = [event[:3] for event in found.files[0][1]]
    rate_hz = eat.audio.SAMPLE_RATE_HZ
    part = eat.read_audio(path, rate_hz, round(begin * rate_hz), round((end - begin) * rate_hz))
    frames = round((end - begin) * 100) - 2  # without padding
    image = eat.LogMel(target_length=None)(torch.from_numpy(part))[0, 0, :frames].T
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(2, 1, 1, 1))
    image -= image.median(1, keepdim=True).values  # the noise
    extent = (begin, end, 0, len(image))
    axes[0].imshow(image, aspect="auto", origin="lower", extent=extent, clim=(0.15, 0.7))
    axes[0].set_ylabel("mel bin")
    for axis, title in zip(axes[1:], spans, strict=True):
        for onset, offset, label in spans[title]:
            place = labels.index(label)
            axis.barh(place, offset - onset, left=onset, color=f"C{place}")
        axis.set(yticks=range(len(labels)), ylabel=title)
        axis.set_yticklabels(labels, fontsize=7)
        axis.set_ylim(len(labels) - 0.5, -0.5)
    axes[-1].set(xlim=(begin, end), xlabel="seconds")
    return figure


if __name__ == "__main__":
    sys.exit(main())
