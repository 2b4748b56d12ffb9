"""What pre-training on real recordings is worth: probes, and fine-tuning with few labels.

    python examples/real_recordings/prepare.py --out real_recordings/audio
    python examples/real_recordings/run.py --audio real_recordings/audio --out real_recordings/run

pre-trains `pretrain_tiny` without labels, asks with `eat probe` what its features hold of spoken
digits, voices and instruments, against an untrained encoder, and fine-tunes it with few spoken
digits, against training from scratch. An interrupted run continues; what is finished is kept.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import (
    TASKS,
    Result,
    as_markdown,
    experiment_arguments,
    make_manifests,
    mean_and_spread,
    pretrain,
    probe,
    run_experiment,
    run_training,
    step,
)

from eat.data.labels import DESCRIPTORS_FILE, write_labels
from eat.data.manifest import Manifest, write_manifest
from eat.evaluation import evaluate_checkpoint

POOLINGS = ("cls", "mean", "time")
ENCODER_SIZES = ("model.embed_dim", "model.depth", "model.num_heads")
TEST_VARIANTS = ("f4", "f5", "m7", "m8")  # voices that fine-tuning does not hear


class Start(NamedTuple):
    """What fine-tuning starts from, and the settings that suit it."""

    name: str
    settings: Dict[str, Any]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    parser = experiment_arguments(__doc__.splitlines()[0], seeds=[1], num_updates=2000)
    parser.add_argument(
        "--finetuning-updates", type=int, default=300, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--clips-per-word",
        type=int,
        nargs="+",
        default=[1, 5, 20],
        help="budgets of labels for fine-tuning (default: 1 5 20)",
    )
    return run_experiment(parser.parse_args(argv), run_seeds)


def run_seeds(args: argparse.Namespace) -> Result:
    """The tables of probes and of fine-tuning."""
    manifests, record = args.out / "manifests", args.out / "statistics.json"
    statistics = step(record, "Manifests", make_manifests, args.audio, manifests)
    results = [run_seed(args, statistics, seed) for seed in args.seeds]
    return f"{probe_table(results)}\n\n{finetuning_table(results)}", None


def run_seed(args: argparse.Namespace, statistics: Dict[str, Any], seed: int) -> Dict[str, Any]:
    """All steps with one seed; returns the accuracies of probes and of fine-tuning."""
    folder, manifests = args.out / f"seed{seed}", args.out / "manifests"
    checkpoints, record = folder / "pretraining", folder / "pretraining.json"
    inputs = (checkpoints, manifests, statistics, args.updates, seed, dict(args.set))
    step(record, f"Pre-training, seed {seed}", pretrain, *inputs)
    checkpoint = checkpoints / "checkpoint_last.pt"
    probes = {}
    for task in TASKS:
        out, title = folder / f"probe_{task.name}", f"Probe of {task.name}, seed {seed}"
        inputs = (checkpoint, manifests, task, seed, out)
        probes[task.name] = step(out / "result.json", title, probe, *inputs)
    return {"probes": probes, "finetuning": run_finetuning(args, statistics, seed, checkpoint)}


def run_finetuning(
    args: argparse.Namespace, statistics: Mapping[str, float], seed: int, checkpoint: Path
) -> Dict[str, Dict[str, float]]:
    """The accuracy by budget and start."""
    starts = (
        Start("from scratch", {"model.init_from": None, "model.layer_decay": 1.0}),
        Start("from pre-training", {"model.init_from": checkpoint}),
    )
    results: Dict[str, Dict[str, float]] = {}
    for count in args.clips_per_word:
        data = args.out / f"seed{seed}" / f"finetuning_{count}"
        draw_budget(args.out / "manifests" / "digit", data, count, seed)
        for start in starts:
            folder = data / start.name.replace(" ", "_")
            title = f"Fine-tuning {start.name}, {count} clips of each word, seed {seed}"
            inputs = (args, statistics, seed, data, folder, start.settings)
            metrics = step(folder / "result.json", title, finetune, *inputs)
            results.setdefault(str(count), {})[start.name] = metrics["accuracy"]
    return results


def draw_budget(source: Path, out: Path, clips_per_word: int, seed: int) -> None:
    """Manifests to fine-tune with: a few clips of each word, and all of the voices to test on."""
    manifest = Manifest(source / "train.tsv")
    paths_of: Dict[str, List[str]] = {}  # by word, in random order
    for index in np.random.default_rng(seed).permutation(len(manifest)):
        path = manifest.relative_path(index)
        paths_of.setdefault(os.path.dirname(path), []).append(path)
    splits: Dict[str, List[str]] = {"train": [], "valid": []}
    for word in sorted(paths_of):
        splits["valid"] += [path for path in paths_of[word] if is_tested(path)]
        others = [path for path in paths_of[word] if not is_tested(path)]
        splits["train"] += others[:clips_per_word]
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / DESCRIPTORS_FILE, out)
    num_samples = dict(zip(manifest.relative_paths(), manifest.num_samples.tolist(), strict=True))
    for split, paths in splits.items():
        write_manifest(out / f"{split}.tsv", manifest.root, ((p, num_samples[p]) for p in paths))
        write_labels(out / f"{split}.lbl", ((p, [os.path.dirname(p)]) for p in paths))


def is_tested(path: str) -> bool:
    """Whether a spoken digit is of a voice that fine-tuning does not hear."""
    return any(f"_{variant}_" in path for variant in TEST_VARIANTS)


def finetune(
    args: argparse.Namespace,
    statistics: Mapping[str, float],
    seed: int,
    data: Path,
    folder: Path,
    settings: Mapping[str, Any],
) -> Dict[str, Any]:
    """Train a classifier for a fixed number of updates and evaluate the last one."""
    num_updates = args.finetuning_updates
    sizes = {key: value for key, value in args.set if key in ENCODER_SIZES}
    run_training(
        "finetune_tiny",
        folder,
        {
            "common.seed": seed,
            "task.data": data,
            "task.mean": statistics["mean"],
            "task.std": statistics["std"],
            "checkpoint.save_interval": num_updates,  # epochs
            "dataset.validate_interval": num_updates,
            "model.pooling": "cls",  # as in the recorded results
            "lr_scheduler.warmup_updates": num_updates // 10,
            "optimization.max_update": num_updates,
            **sizes,
            **settings,
        },
    )
    evaluation = evaluate_checkpoint(str(folder / "checkpoint_last.pt"), str(data), "valid")
    evaluation.write(str(folder))
    return evaluation.metrics


def probe_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: accuracies of the probes, mean and standard deviation over seeds."""
    columns = [(task.name, pooling) for task in TASKS for pooling in POOLINGS]
    rows = [["encoder", *(f"{task}: {pooling}" for task, pooling in columns)]]
    for encoder in ("untrained", "pre-trained"):
        cells = [
            mean_and_spread([result["probes"][task][encoder][pooling] for result in results])
            for task, pooling in columns
        ]
        rows.append([encoder, *cells])
    return as_markdown(rows)


def finetuning_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: accuracies after fine-tuning, by budget."""
    budgets = results[0]["finetuning"]
    starts = list(next(iter(budgets.values())))
    rows = [["clips of each word", *starts]]
    for count in budgets:
        cells = [
            mean_and_spread([result["finetuning"][count][start] for result in results])
            for start in starts
        ]
        rows.append([count, *cells])
    return as_markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
