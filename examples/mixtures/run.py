"""What training on mixtures is worth for clips with two sounds: SSLAM's second stage in small.

    python examples/real_recordings/prepare.py --out real_recordings/audio
    python examples/mixtures/run.py --audio real_recordings/audio --out mixtures

pre-trains `pretrain_tiny`, goes on from it with mixtures and, for as many updates, without, and
asks with `eat probe` what the features hold of single sounds and of two at once: a spoken digit and
a drum, or two digits, of voices and drum kits that the classifiers did not learn from. An
interrupted run continues; what is finished is kept.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # examples/
from experiment import (
    TASKS,
    Result,
    Task,
    as_markdown,
    experiment_arguments,
    make_manifests,
    mean_and_spread,
    pretrain,
    probe,
    run_experiment,
    step,
)

from eat.audio import SAMPLE_RATE_HZ, read_audio
from eat.data.labels import Label, write_descriptors, write_labels
from eat.data.manifest import write_manifest

# Of two sounds: the folders that they are of.
PAIRS = {"digit + drum": ("digits", "instruments"), "digit + digit": ("digits", "digits")}
NUM_CLIPS = {"train": 1000, "test": 500}
LEVELS_DB = (-5.0, 5.0)  # of the second sound, relative to the first
# What is not learnt from: voices, and drum kits that together have every instrument.
TEST_SOURCES = r"_(f4|f5|m7|m8)_|/(Colombo|Millo_MultiLayered3|(The )?Black|circAfrique)[^/]*__"
POOLINGS = ("cls", "mean")
SECOND_STAGE = {"optimization.lr": [0.0005], "dataset.batch_size": 12}  # half of the first's
STAGES: Dict[str, Dict[str, Any]] = {
    "without mixtures": {"model.num_clones": 8},
    "with mixtures": {
        "model.mixtures": True,
        "model.num_clones": 4,  # and 4 of each mixture
        "model.utterance_top_k_layers": 1,
    },
}

Scores = Dict[str, Dict[str, float]]  # task -> pooling -> score


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed."""
    parser = experiment_arguments(__doc__.splitlines()[0], seeds=[1, 2], num_updates=500)
    return run_experiment(parser.parse_args(argv), compare_stages)


def compare_stages(args: argparse.Namespace) -> Result:
    """The table of all networks."""
    manifests, record = args.out / "manifests", args.out / "statistics.json"
    statistics = step(record, "Manifests", make_manifests, args.audio, manifests)
    for name, folders in PAIRS.items():
        folder = manifests / name
        step(folder / "mixed.json", f"Clips of {name}", mix_clips, args.audio, folder, folders)
    return as_markdown(table(run_all(args, statistics))), None


def run_all(args: argparse.Namespace, statistics: Mapping[str, float]) -> Dict[str, List[Scores]]:
    """Train and probe all networks; returns the scores of each, one for each seed."""
    found: Dict[str, List[Scores]] = {}
    manifests, first = args.out / "manifests", args.out / "stage_1"
    start = {"model.init_from": first / "checkpoint_last.pt", **SECOND_STAGE}
    runs = [("stage 1", first, args.seeds[0], {})]
    for seed in args.seeds:
        for name, settings in STAGES.items():
            folder = args.out / f"{name.replace(' ', '_')}_{seed}"
            runs.append((name, folder, seed, start | settings))
    for name, folder, seed, settings in runs:
        title, settings = f"{name}, seed {seed}", {**settings, **dict(args.set)}
        inputs = (folder, manifests, statistics, args.updates, seed, settings)
        step(folder.with_suffix(".json"), title, pretrain, *inputs)
        probed = (folder, manifests, args.seeds[0], folder == first)
        scores = step(folder / "probes.json", f"Probes, {title}", probe_all, *probed)
        for encoder, by_task in scores.items():
            found.setdefault(name if encoder == "pre-trained" else encoder, []).append(by_task)
    return found


def mix_clips(audio: Path, out: Path, folders: Sequence[str]) -> Dict[str, Any]:
    """Write clips of two sounds, drawn by a fixed seed, with manifests and both labels."""
    generator = np.random.default_rng(0)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    sources = [sorted((audio / folder).rglob("*.flac")) for folder in folders]
    classes = sorted({path.parent.name for paths in sources for path in paths})
    write_descriptors(out / "label_descriptors.csv",
                      [Label(i, name, name) for i, name in enumerate(classes)])  # fmt: skip
    for split, count in NUM_CLIPS.items():
        of_split = [[path for path in paths
                     if bool(re.search(TEST_SOURCES, str(path))) == (split == "test")]
                    for paths in sources]  # fmt: skip
        if not all(of_split):
            missing = " and ".join(folders)
            raise ValueError(
                f"{audio}: found no clips to {split} of {missing}, expected some of each"
            )
        sizes, labels = [], []
        for index in range(count):
            pair = [paths[generator.integers(len(paths))] for paths in of_split]
            while pair[0].parent == pair[1].parent:
                pair[1] = of_split[1][generator.integers(len(of_split[1]))]
            samples = add_sounds(*map(read_audio, pair), generator)
            name = f"{split}{index:04}.flac"
            soundfile.write(out / "audio" / name, samples, SAMPLE_RATE_HZ)
            sizes.append((name, len(samples)))
            labels.append((name, [path.parent.name for path in pair]))
        write_manifest(out / f"{split}.tsv", str(out / "audio"), sizes)
        write_labels(out / f"{split}.lbl", labels)
    return NUM_CLIPS


def add_sounds(first: np.ndarray, second: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The sum of two sounds, as loud as each other up to `LEVELS_DB`, the shorter one anywhere."""
    level = 10 ** (generator.uniform(*LEVELS_DB) / 20)
    sounds = [s / np.sqrt(np.mean(np.square(s)) + 1e-9) for s in (first, second)]
    total = np.zeros(max(map(len, sounds)), np.float32)
    for sound, gain in zip(sounds, (1.0, level), strict=True):
        start = generator.integers(len(total) - len(sound) + 1)
        total[start : start + len(sound)] += gain * sound
    return 0.5 * total / np.abs(total).max()


def probe_all(folder: Path, manifests: Path, seed: int, with_untrained: bool) -> Dict[str, Scores]:
    """By encoder, task and pooling: accuracy of single sounds, mAP of two at once."""
    found: Dict[str, Scores] = {}
    tasks = {task: {} for task in TASKS if task.name != "voice"}
    tasks |= {Task(name, "", None): {"test": "test"} for name in PAIRS}
    for task, settings in tasks.items():
        inputs = (folder / "checkpoint_last.pt", manifests, task, seed, folder / task.name)
        settings |= {"pooling": list(POOLINGS), "untrained": int(with_untrained)}
        for encoder, by_pooling in probe(*inputs, **settings).items():
            if by_pooling:
                found.setdefault(encoder, {})[task.name] = by_pooling
    return found


def table(found: Mapping[str, Sequence[Scores]]) -> List[List[str]]:
    """The scores of each network, mean and standard deviation over seeds, untrained first."""
    columns = [(task, pooling) for task in found["untrained"][0] for pooling in POOLINGS]
    rows = [["", *(f"{task}: {pooling}" for task, pooling in columns)]]
    for network in ("untrained", "stage 1", *STAGES):
        cells = [mean_and_spread([scores[task][pooling] for scores in found[network]])
                 for task, pooling in columns]  # fmt: skip
        rows.append([network, *cells])
    return rows


if __name__ == "__main__":
    sys.exit(main())
