"""The page: all that is known of a run, put into `report.html`."""

import os
import shlex
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from eat import __version__
from eat.training.run_folder import Run

from .data import MAX_CLIPS, Split, examine_split, list_splits, read_bad_files
from .network import draw_masks_of, draw_network
from .pictures import Picture
from .pictures import embed as picture_of
from .results import find_results
from .summary import Fact, list_facts, list_warnings
from .tables import (
    NUM_SECTIONS_SHOWN,
    describe_configuration,
    describe_environment,
    describe_labels,
    describe_probe,
    describe_speed,
    describe_split,
)

if TYPE_CHECKING:
    from eat.checkpoint import Checkpoint

MAX_LISTED = 20  # bad files and classes; of more, only the number is told


def render(run: Run, results: Sequence[str], num_embedded: int) -> str:
    """The whole page as HTML; it needs nothing beside it.

    Args:
        run: what was read of it.
        results: further folders with results of `eat evaluate` and `eat probe`.
        num_embedded: clips of the map of embeddings at most; 0 for no map.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(describe(run, results, num_embedded))


def describe(run: Run, results: Sequence[str], num_embedded: int) -> Dict[str, Any]:
    """Everything that the page says, by the names that it uses."""
    splits = _examine_splits(run)
    evaluations, probes = find_results([run.folder, *results])
    checkpoint = _load_checkpoint(run)
    masks = [] if checkpoint is None else draw_masks_of(checkpoint)
    clips: List[Picture] = []
    if checkpoint is not None and splits:
        clips = draw_network(run, checkpoint, splits[-1].manifest, num_embedded)
    return {
        "name": "/".join(os.path.abspath(run.folder).split(os.sep)[-2:]),
        "folder": os.path.abspath(run.folder),
        "kind": _kind(run),
        "facts": list_facts(run),
        "warnings": list_warnings(run),
        "commands": _commands(run),
        "curves": _draw_curves(run),
        "data": [describe_split(split) for split in splits],
        "lengths": _draw_lengths(run, splits),
        "bad_files": [
            *read_bad_files(run, splits),
            *(bad for split in splits for bad in split.bad_files),
        ],
        "labels": describe_labels(splits),
        "masks": masks,
        "clips": clips,
        "evaluations": [_describe_evaluation(*result) for result in evaluations],
        "probes": [describe_probe(*result) for result in probes],
        "throughput": describe_speed(run),
        "environment": describe_environment(run),
        "configuration": describe_configuration(run.cfg),
        "num_sections_shown": NUM_SECTIONS_SHOWN,
        "notes": run.notes,  # last, as all of the above may add to them
        "max_listed": MAX_LISTED,
        "version": __version__,
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _kind(run: Run) -> str:
    kinds = {"eat": "Pre-training", "eat_classifier": "Fine-tuning"}
    kind = kinds.get(run.section("model").get("_name"), "Training")
    # Both `--config-name X` and `--config-name=X`.
    words = " ".join(run.starts[-1]["command"]).replace("=", " ").split() if run.starts else []
    if "--config-name" in words[:-1]:
        return f"{kind} with {words[words.index('--config-name') + 1]}"
    return kind


def _load_checkpoint(run: Run) -> "Optional[Checkpoint]":
    from eat.checkpoint import load_checkpoint

    return None if run.checkpoint is None else load_checkpoint(run.checkpoint)


def _commands(run: Run) -> List[Dict[str, str]]:
    """How to start the run again: each command that it was started with, the last one first."""
    commands: Dict[Tuple[str, str], Dict[str, str]] = {}
    for start in reversed(run.starts):
        text = shlex.join(start["command"])
        key = start["folder"], text
        entry = commands.setdefault(key, {"folder": start["folder"], "text": text, "times": ""})
        entry["times"] = ", ".join(filter(None, (start["time"], entry["times"])))
    return list(commands.values())


def _draw_curves(run: Run) -> List[Picture]:
    from .. import draw_curves, logged_panels

    if run.log is None:
        return []
    runs = {"run": run.log}
    return [
        picture_of(draw_curves(runs, [panel]), f"{panel.title} over the updates", is_wide=False)
        for panel in logged_panels(runs)
    ]


def _examine_splits(run: Run) -> List[Split]:
    splits = []
    for name, file in list_splits(run).items():
        try:
            splits.append(examine_split(name, file, run))
        except (ValueError, OSError) as error:
            run.notes.append(f"Nothing about the clips of {name}: {error}.")
    # Validation last, whatever was loaded first.
    is_training = str(run.section("dataset").get("train_subset") or "train")
    return sorted(splits, key=lambda split: split.name != is_training)


def _draw_lengths(run: Run, splits: Sequence[Split]) -> List[Picture]:
    from ..lengths import draw_lengths

    if not any(len(split.seconds) for split in splits):
        return []
    frames = run.section("task").get("target_length")
    seconds = {split.name: split.seconds for split in splits}
    figure = draw_lengths(seconds, frames / 100 if frames else None)
    return [
        picture_of(figure, f"Lengths of at most {MAX_CLIPS} clips of each manifest", is_wide=False)
    ]


def _describe_evaluation(path: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    from ..classes import ClassResult, draw_classes
    from ..confusion import MAX_NAMED, draw_confusion

    results = [
        ClassResult(row["label"], _or_nan(row["average_precision"]), row["num_positives"])
        for row in values["classes"]
    ]
    pictures = []
    if any(result.num_positives for result in results):
        figure = draw_classes(results, title=values["split"])
        pictures.append(picture_of(figure, f"Average precision of the classes of {path}", "png"))
    confusion, names = values["confusion_matrix"], [result.label for result in results]
    if confusion is not None and len(names) <= MAX_NAMED:
        figure = draw_confusion(np.array(confusion), names)
        pictures.append(picture_of(figure, f"Confusion matrix of {path}", "png"))
    return {
        "path": path,
        "clips": values["num_clips"],
        "split": os.path.join(values["data"], values["split"]),
        "checkpoint": values["checkpoint"],
        "metrics": [Fact(name, f"{value:.4f}") for name, value in values["metrics"].items()],
        "num_failed": len(values["failed"]),
        "pictures": pictures,
    }


def _or_nan(value: Optional[float]) -> float:
    return float("nan") if value is None else value
