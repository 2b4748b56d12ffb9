"""The steps that the experiments on real recordings share. Finished steps are not repeated."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eat.benchmark import UpdateCase, measure_update, run_cases
from eat.data.annotations import FolderConfig, list_folder
from eat.data.statistics import measure_statistics
from eat.evaluation import ProbeSettings, probe_checkpoint
from eat.figures import save_figure
from eat.files import write_file
from eat.machine import choose_device, describe_hardware
from eat.training.launch import TrainingError, train, training_arguments


class Task(NamedTuple):
    """Labelled recordings: the folder that a file is in is its label.

    Attributes:
        name: what to call it.
        folder: where they are, below that of all recordings.
        groups: what must not be on both sides of a fold, as `eat probe --groups-from` takes it.
    """

    name: str
    folder: str
    groups: str


TASKS = (
    Task("digit", "digits", r"regex:_([mf]\d)_"),  # espeak-ng's voice variants
    Task("voice", "prompts", r"regex:[^/]+$"),  # what is said
    Task("instrument", "instruments", r"regex:/(.+?)__"),  # drum kits
)
NUM_FOLDS = 4
TIMED_UPDATES = 40  # at most
UNTRAINED = "untrained"

_GROWING = ("out", "seeds", "clips_per_word")  # with more of them, only those are computed

Settings = Mapping[str, Any]  # what differs from a recipe
Result = Tuple[str, Optional[Figure]]  # of an experiment: tables in Markdown, and a figure


class Comparison(NamedTuple):
    """Networks that are pre-trained for the same time, and what becomes of them.

    Attributes:
        common: settings of all of them.
        variants: by name, what each sets besides; the first is the reference.
        timed: the names of those whose updates do not take the reference's time.
        poolings: what is probed of them by a logistic regression.
        methods: by what else they are probed; "gated" goes by the pooling "prototypes".
    """

    common: Settings
    variants: Mapping[str, Settings]
    timed: Sequence[str]
    poolings: Sequence[str] = ("cls", "mean")
    methods: Sequence[str] = ()

    @property
    def reference(self) -> str:
        return next(iter(self.variants))


class Outcome(NamedTuple):
    """What became of a network: how long it was trained, and what its features hold."""

    updates: int
    accuracies: Dict[str, Dict[str, List[float]]]  # task -> pooling -> one of each seed


def parse_setting(text: str) -> Tuple[str, Any]:
    """Key and value of KEY=VALUE; the value is JSON, or else text."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def experiment_arguments(
    description: str,
    seeds: Sequence[int],
    num_updates: int,
    source: str = "--audio",
    writer: str = "prepare.py",
) -> argparse.ArgumentParser:
    """The command line that the experiments share; `seeds` and `num_updates` are its defaults.

    The option `source` takes the folder that the script `writer` wrote.
    """
    parser = argparse.ArgumentParser(description=description)
    folder = lambda text: Path(text).resolve()  # noqa: E731
    parser.add_argument(source, type=folder, required=True, help=f"what {writer} wrote")
    parser.add_argument("--out", type=folder, required=True, help="folder for everything")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=seeds, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--updates", type=int, default=num_updates, help="of pre-training (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        type=parse_setting,
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="other settings of pretrain_tiny, such as model.depth=2",
    )
    return parser


def run_experiment(args: argparse.Namespace, work: Callable[[argparse.Namespace], Result]) -> int:
    """Do the work, and leave its tables and its figure in `args.out`; returns 0, 1 if it failed.

    What an earlier call has finished there is kept, so that other options than `_GROWING` must be
    those of that call.
    """
    fixed = {key: value for key, value in vars(args).items() if key not in _GROWING}
    fixed = json.loads(json.dumps(fixed, default=str))
    try:
        first = step(args.out / "options.json", f"All in {args.out}", lambda: fixed)
        if fixed != first:
            raise ValueError(
                f"{args.out}: found results of the options {first}, expected {fixed};"
                " take another --out"
            )
        text, figure = work(args)
    except (ValueError, OSError, ImportError, TrainingError) as error:
        print(f"\n{error}\n\n(the same command continues)", file=sys.stderr)
        return 1
    written = [args.out / "results.md"]
    write_file(written[0], f"{text}\n".encode())
    if figure is not None:
        written += save_figure(figure, args.out / "figure")
    print(f"\n== {', '.join(map(str, written))}\n\n{text}")
    return 0


def step(file: Path, title: str, work: Callable[..., Dict[str, Any]], *inputs: Any) -> Any:
    """The result of a step: what is in the file, else that of `work(*inputs)`, which goes there."""
    if file.exists():
        return json.loads(file.read_text())
    print(f"\n== {title}", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    result = work(*inputs)
    write_file(file, (json.dumps(result, indent=2) + "\n").encode())
    return result


def make_manifests(audio: Path, out: Path) -> Dict[str, Any]:
    """Manifests of all recordings and of those of each task, with labels; mean and std of all."""
    if not all((audio / task.folder).is_dir() for task in TASKS):
        raise ValueError(f"{audio}: no recordings, expected the folder that prepare.py wrote")
    list_folder(str(audio), str(out / "all"), force=True)
    labelled = FolderConfig(labels_from="parent", valid_fraction=0.0)
    for task in TASKS:
        list_folder(str(audio / task.folder), str(out / task.name), labelled, force=True)
    statistics = measure_statistics(str(out / "all" / "train.tsv"))
    return {"mean": round(statistics.mean, 3), "std": round(statistics.std, 3)}


def run_training(config_name: str, folder: Path, settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Train from a recipe of ours on one device; returns how long it took.

    Args:
        config_name: of the recipe.
        folder: where the checkpoints go.
        settings: what differs from the recipe, `optimization.max_update` among it.

    Raises:
        TrainingError: it failed.
    """
    num_updates = settings["optimization.max_update"]
    settings = {
        "common.bf16": describe_hardware().multiplies_bf16(),
        "common.log_interval": 50,
        "checkpoint.save_dir": folder,
        "dataset.num_workers": 0,  # reading is quick here
        "distributed_training.distributed_world_size": 1,
        **settings,
    }
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    train(training_arguments(config_name, settings), folder / "output.log", num_updates)
    return {"seconds": round(time.monotonic() - started, 1)}


def pretrain(
    folder: Path,
    manifests: Path,
    statistics: Mapping[str, float],
    num_updates: int,
    seed: int,
    settings: Mapping[str, Any],
) -> Dict[str, Any]:
    """Pre-train `pretrain_tiny` on all recordings, without labels.

    Args:
        folder: where the checkpoints go.
        manifests, statistics: from `make_manifests`.
        num_updates: how long.
        seed: of weights, order and masks.
        settings: what else differs from the recipe.
    """
    differing = {
        "common.seed": seed,
        "task.data": manifests / "all",
        "task.mean": statistics["mean"],
        "task.std": statistics["std"],
        "checkpoint.save_interval_updates": num_updates,
        "dataset.validate_interval_updates": num_updates,
        "lr_scheduler.warmup_updates": num_updates // 10,
        "optimization.max_update": num_updates,
    }
    return run_training("pretrain_tiny", folder, {**differing, **settings})


def probe(
    checkpoint: Path,
    manifests: Path,
    task: Task,
    seed: int,
    out: Path,
    methods: Sequence[str] = (),
    **settings: Any,
) -> Dict[str, Dict[str, float]]:
    """Probe a checkpoint and untrained encoders with a logistic regression and further `methods`.

    Args:
        checkpoint: what to probe.
        manifests: from `make_manifests`.
        task: which clips.
        seed: of the folds and the untrained encoder.
        out: folder for probe.json.
        settings: further `ProbeSettings`.

    Returns:
        By "pre-trained" and "untrained", the accuracy by kind of pooling.
    """
    chosen = ProbeSettings(
        groups_from=task.groups,
        folds=NUM_FOLDS,
        seed=seed,
        methods=["logistic", *methods],
        **settings,
    )
    report = probe_checkpoint(str(checkpoint), str(manifests / task.name), chosen)
    write_file(out / "probe.json", json.dumps(report, indent=2).encode())
    found: Dict[str, Dict[str, float]] = {"pre-trained": {}, "untrained": {}}
    for result in report["results"]:
        kind = "pre-trained" if result["encoder"] == str(checkpoint) else "untrained"
        found[kind][result["pooling"]] = result["mean"]
    return found


def compare(args: argparse.Namespace, comparison: Comparison) -> Dict[str, Outcome]:
    """Pre-train and probe all networks; returns what became of each, "untrained" first.

    `args` are those of `experiment_arguments`; the reference is trained for `args.updates`.
    """
    manifests, record = args.out / "manifests", args.out / "statistics.json"
    statistics = step(record, "Manifests", make_manifests, args.audio, manifests)
    record, reference = args.out / "update_ms.json", comparison.reference
    update_ms = step(record, "Time of an update", time_updates, args, comparison)
    outcomes = {UNTRAINED: Outcome(0, {})}
    for name in comparison.variants:
        share = update_ms[reference] / update_ms.get(name, update_ms[reference])
        outcomes[name] = Outcome(max(1, round(args.updates * share)), {})
    for seed in args.seeds:
        for name in comparison.variants:
            folder = args.out / f"seed{seed}" / name.replace(" ", "_")
            inputs = (folder, args, statistics, comparison, name, outcomes[name].updates, seed)
            result = step(folder / "result.json", f"{name}, seed {seed}", run_variant, *inputs)
            for task, by_encoder in result["probes"].items():
                for encoder, by_pooling in by_encoder.items():
                    owner = UNTRAINED if encoder == UNTRAINED else name
                    found = outcomes[owner].accuracies.setdefault(task, {})
                    for pooling, value in by_pooling.items():
                        found.setdefault(pooling, []).append(value)
    return outcomes


def time_updates(args: argparse.Namespace, comparison: Comparison) -> Dict[str, float]:
    """Milliseconds of an update with its reading, of the reference and of those to be timed."""
    names = [comparison.reference, *comparison.timed]
    cases = []
    for name in names:
        settings = {**comparison.common, **comparison.variants[name], **dict(args.set)}
        settings["dataset.num_workers"] = 0  # as `run_training` has it
        cases.append(
            UpdateCase(
                config="tiny",
                dtype="bf16" if describe_hardware().multiplies_bf16() else "fp32",
                settings=[f"{key}={json.dumps(value)}" for key, value in settings.items()],
                data=str(args.out / "manifests" / "all"),
                device=choose_device("auto"),
                repeats=min(TIMED_UPDATES, args.updates),
            )
        )
    # The least, as whatever else runs on the machine can only add to it.
    return {
        name: round(found["update_ms_minimum"] + found["data_wait_ms_minimum"], 1)
        for name, found in zip(names, run_cases(measure_update, cases), strict=True)
    }


def run_variant(
    folder: Path,
    args: argparse.Namespace,
    statistics: Mapping[str, float],
    comparison: Comparison,
    name: str,
    num_updates: int,
    seed: int,
) -> Dict[str, Any]:
    """Pre-train and probe one network; its settings, its time and its accuracies."""
    manifests, checkpoints = args.out / "manifests", folder / "pretraining"
    settings = {**comparison.common, **comparison.variants[name], **dict(args.set)}
    timing = pretrain(checkpoints, manifests, statistics, num_updates, seed, settings)
    # The untrained encoder is the same for all.
    is_reference = name == comparison.reference
    options = {
        "methods": comparison.methods,
        "pooling": list(comparison.poolings),
        "untrained": int(is_reference),
    }
    checkpoint = checkpoints / "checkpoint_last.pt"
    probes = {
        task.name: probe(checkpoint, manifests, task, seed, folder / task.name, **options)
        for task in TASKS
    }
    return {"settings": settings, "updates": num_updates, **timing, "probes": probes}


def comparison_table(outcomes: Mapping[str, Outcome]) -> str:
    """Markdown: mean and standard deviation over seeds, the untrained network first."""
    probed = outcomes[UNTRAINED].accuracies
    columns = [(task, pooling) for task, found in probed.items() for pooling in found]
    rows = [["network", "updates", *(f"{task}: {pooling}" for task, pooling in columns)]]
    for name, (updates, accuracies) in outcomes.items():
        cells = [mean_and_spread(accuracies[task][pooling]) for task, pooling in columns]
        rows.append([name, str(updates), *cells])
    return as_markdown(rows)


def draw_series(
    axes: Axes,
    values: Sequence[Sequence[float]],
    label: str,
    colour: str,
    pooling: str,
    joined: bool = True,
) -> None:
    """Means over seeds, `joined` by a line, CLS dashed, and every seed as a point."""
    means = [np.mean(of_setting) for of_setting in values]
    style = {"linestyle": "--", "markerfacecolor": "white"} if pooling == "cls" else {}
    style |= {} if joined else {"linestyle": "none"}
    axes.plot(means, color=colour, marker="o", label=label, **style)
    for place, of_setting in enumerate(values):
        axes.plot([place] * len(of_setting), of_setting, ".", color=colour, alpha=0.5, zorder=3)


def mean_and_spread(values: Sequence[float]) -> str:
    """Text with the mean of several seeds and their standard deviation."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])
