"""What pre-training is worth to find events: fine-tuned in time from it, and from nothing.

    python examples/events/mix.py --out events/data
    python examples/events/run.py --data events/data --out events/run

pre-trains `pretrain_tiny` on recordings without labels, fine-tunes it with `finetune_events_tiny` on
18 minutes with labels, and measures on recordings of other voices, drum kits and chimes how well it
finds events, against a network that was not pre-trained. Needs the extra `[events]`. An interrupted
run continues; what is finished is kept.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import as_markdown, mean_and_spread, parse_setting, run_training, step

import eat
from eat.data.events import Event, read_events
from eat.data.labels import DESCRIPTORS_FILE, read_descriptors
from eat.data.manifest import Manifest
from eat.data.statistics import measure_statistics
from eat.evaluation.event_metrics import (
    OperatingPoint,
    choose_thresholds,
    event_scores,
    find_events,
)
from eat.files import replace_file
from eat.training.launch import TrainingError

STARTS = ("untrained", "pre-trained")
METRICS = {"event_f1": "event F1", "psds": "PSDS", "mAP": "mAP of steps"}
FRAMES = 256  # 2.56 s, of the clips to train on
ENCODER_SIZES = ("model.embed_dim", "model.depth", "model.num_heads")
SHOWN = ("test-001.flac", 20.0, 45.0)  # what the figure shows: recording, from, to (s)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    args = parse_arguments(argv)
    args.data, args.out = args.data.resolve(), args.out.resolve()
    try:
        statistics = step(args.out / "statistics.json", "Statistics", measure, args.data)
        pretrained = args.out / "pretraining"
        step(args.out / "pretraining.json", "Pre-training", pretrain, args, statistics, pretrained)
        results = {start: [run_seed(args, statistics, start, s) for s in args.seeds]
                   for start in STARTS}  # fmt: skip
    except (ValueError, OSError, TrainingError) as error:
        print(f"\n{error}\n\n(the same command continues)", file=sys.stderr)
        return 1
    text = as_markdown(table(results))
    (args.out / "results.md").write_text(f"{text}\n")
    draw(args)
    print(f"\n== {args.out / 'results.md'}\n\n{text}")
    return 0


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="what mix.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="of fine-tuning (default: 1 2 3)"
    )
    parser.add_argument(
        "--updates", type=int, default=500, help="of pre-training (default: %(default)s)"
    )
    parser.add_argument(
        "--finetuning-updates", type=int, default=200, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        type=parse_setting,
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="other settings of pretrain_tiny, such as model.depth=2",
    )
    return parser.parse_args(argv)


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
        "model.num_clones": 4,
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
        "checkpoint.save_interval": count,  # epochs
        "dataset.disable_validation": True,
        "lr_scheduler.warmup_updates": count // 10,
        "optimization.max_update": count,
    }
    return run_training("finetune_events_tiny", folder, {**settings, **sizes, **beginning[start]})


def evaluate(data: Path, folder: Path) -> Dict[str, Any]:
    """Choose thresholds on the validation recordings, and measure on those to test on."""
    classifier = eat.load_classifier(folder / "checkpoint_last.pt")
    step_seconds, classes = classifier.step_seconds, classifier.labels
    point = choose_thresholds(*score_split(classifier, data, "valid"), step_seconds, classes)
    scores, events, durations = score_split(classifier, data, "test")
    with open(data / "test.snr.csv", newline="") as file:
        ratios = dict(csv.reader(file))
    found = {"all": event_scores(scores, events, durations, step_seconds, classes, point)}
    for ratio in sorted(set(ratios.values()), key=int):
        part = {name: values for name, values in scores.items() if ratios[name] == ratio}
        found[ratio] = event_scores(part, events, durations, step_seconds, classes, point)
    return {
        "metrics": found,
        "thresholds": point.thresholds.tolist(),
        "median_steps": point.median_steps,
    }


def score_split(classifier: eat.nn.Classifier, data: Path, split: str) -> Any:
    """The scores, events and durations of recordings, by name, as the metrics take them."""
    manifest = Manifest(data / f"{split}.tsv")
    table = read_events(
        data / f"{split}.events.tsv", manifest, read_descriptors(data / DESCRIPTORS_FILE)
    )
    scores, events, durations = {}, {}, {}
    for clip, name in enumerate(manifest.relative_paths()):
        waveform = eat.read_audio(manifest.path(clip))
        scores[name] = score(classifier, waveform)
        events[name] = table.events(clip)
        durations[name] = len(waveform) / classifier.log_mel.reading_rate_hz
    return scores, events, durations


@torch.no_grad()
def score(classifier: eat.nn.Classifier, waveform: np.ndarray) -> np.ndarray:
    """The probabilities of the steps of a recording, (steps, C), window after window."""
    log_mel = classifier.log_mel
    window = round(log_mel.target_length // log_mel.patch_size * log_mel.step_seconds
                   * log_mel.reading_rate_hz)  # fmt: skip
    scores = []
    for start in range(0, len(waveform), window):
        part = torch.from_numpy(waveform[start : start + log_mel.max_samples])
        scores.append(classifier(log_mel(part))[0].sigmoid().numpy())
    num_steps = -(-len(waveform) / log_mel.reading_rate_hz // classifier.step_seconds)
    return np.concatenate(scores)[: int(num_steps)]


def table(results: Mapping[str, List[Mapping[str, Any]]]) -> List[List[str]]:
    """Metrics of all test recordings, and event F1 by signal to noise ratio, over the seeds."""
    ratios = [key for key in results["untrained"][0]["metrics"] if key != "all"]
    rows = [["", *METRICS.values(), *(f"event F1 at {ratio} dB" for ratio in ratios)]]
    columns = [*(("all", key) for key in METRICS), *((ratio, "event_f1") for ratio in ratios)]
    for start, seeds in results.items():
        cells = [
            mean_and_spread([one["metrics"][part][key] for one in seeds]) for part, key in columns
        ]
        rows.append([start, *cells])
    return rows


def draw(args: argparse.Namespace) -> None:
    """The figure: a part of a test recording, its events, and those that are found in it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    name, begin, end = SHOWN
    labels = [label.name for label in read_descriptors(args.data / DESCRIPTORS_FILE)]
    rows: Dict[str, List[Event]] = {}
    for start in STARTS:
        folder = args.out / f"{start}_{args.seeds[0]}"
        classifier = eat.load_classifier(folder / "checkpoint_last.pt")
        result = json.loads((folder / "result.json").read_text())
        waveform = eat.read_audio(args.data / "recordings" / name)
        point = OperatingPoint(np.array(result["thresholds"]), result["median_steps"])
        rows[start] = find_events(score(classifier, waveform), classifier.step_seconds, *point)
    manifest = Manifest(args.data / "test.tsv")
    events = read_events(
        args.data / "test.events.tsv", manifest, read_descriptors(args.data / DESCRIPTORS_FILE)
    )
    rows["events"] = events.events(list(manifest.relative_paths()).index(name))
    figure, axes = pyplot.subplots(4, 1, figsize=(9, 7), sharex=True, height_ratios=(2, 1, 1, 1))
    rate_hz = classifier.log_mel.reading_rate_hz
    part = torch.from_numpy(waveform[round(begin * rate_hz) : round(end * rate_hz)])
    image = eat.LogMel(target_length=None)(part)[0, 0].T
    axes[0].imshow(image, aspect="auto", origin="lower", extent=(begin, end, 0, len(image)))
    axes[0].set_ylabel("mel bin")
    for axis, title in zip(axes[1:], ("events", "pre-trained", "untrained"), strict=True):
        for event in rows[title]:
            width = event.offset - event.onset
            axis.barh(event.label, width, left=event.onset, color=f"C{event.label}")
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_ylabel(title)
    axes[-1].set_xlim(begin, end)
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    with replace_file(args.out / "figure.png") as file:
        figure.savefig(file, format="png", dpi=110)


if __name__ == "__main__":
    sys.exit(main())
