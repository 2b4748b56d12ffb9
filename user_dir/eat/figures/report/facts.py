"""What a page tells of a run besides its pictures: clips, results, speed, what is wrong."""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from eat.audio import AudioInfo, audio_info
from eat.data.sampling import draw_clips
from eat.data.split import open_split, split_of
from eat.data.writing import unreadable_file
from eat.training.run import Run, TrainingLog
from eat.work import Failure, is_failure, map_in_threads

# Values by the names that the template uses.
Facts = Dict[str, Any]

MAX_CLIPS = 2000  # of a split, whose headers are read; of more, random ones
_NUM_THREADS = 16  # which mostly wait for the disk
_REPLACED = "bad_audio.tsv"  # what training with task.bad_audio=skip found, file<TAB>reason
# Of the spread of targets and predictions, which is near 1 in a healthy run.
_COLLAPSED_BELOW = 0.1
_MIN_SECONDS_FOR_SHARE = 60


def examine_splits(run: Run) -> List[Facts]:
    """The manifests of a run, validation last; those that cannot be read are noted in the run."""
    noted = run.last_start.get("data", {})
    task, dataset = run.section("task"), run.section("dataset")
    train = str(dataset.get("train_subset") or "train")
    manifests = {name: data["manifest"] for name, data in noted.items()}
    if not noted and task.get("data"):
        names = [train, *str(dataset.get("valid_subset") or "").split(",")]
        manifests = {name: os.path.join(task["data"], f"{name}.tsv") for name in names if name}
    splits = []
    for name, file in sorted(manifests.items(), key=lambda item: item[0] != train):
        try:
            splits.append({**_examine_split(name, file), "used": noted.get(name, {}).get("used")})
        except (ValueError, OSError) as error:
            run.notes.append(f"Nothing about the clips of {name}: {error}.")
    return splits


def _examine_split(name: str, file: str) -> Facts:
    """A manifest, the headers of at most `MAX_CLIPS` clips, and classes, most frequent first."""
    manifest, descriptors, labels = open_split(*split_of(file), labelled=False)

    def read_header(clip: int) -> Union[AudioInfo, Failure]:
        try:
            return audio_info(manifest.path(clip))
        except (ValueError, OSError) as error:
            return Failure.of(manifest.location(clip), error)

    clips = draw_clips(len(manifest), MAX_CLIPS, seed=1).tolist()
    results = list(map_in_threads(read_header, clips, _NUM_THREADS, f"reading {name}"))
    infos = [result for result in results if not is_failure(result)]
    counts = None
    if labels is not None:
        names = (label.name for label in descriptors)
        counts = sorted(zip(names, labels.counts.tolist(), strict=True), key=lambda item: -item[1])
    return {
        "name": name,
        "manifest": manifest,
        "seconds": np.array([info.duration_seconds for info in infos]),
        "rates_hz": _shares([info.sample_rate_hz for info in infos]),
        "channels": _shares([info.num_channels for info in infos]),
        "failures": [result for result in results if is_failure(result)],
        "labels": counts,
    }


def _shares(values: Sequence[int]) -> List[Tuple[int, float]]:
    """The most frequent values, and the share of each in per cent."""
    return [(value, 100 * n / len(values)) for value, n in Counter(values).most_common(5)]


def list_bad_files(run: Run, splits: Sequence[Facts]) -> List[Failure]:
    """What `eat manifest` left out, what training replaced, and headers that cannot be read."""
    lists = [
        os.path.join(os.path.dirname(split["manifest"].file), unreadable_file(name))
        for split in splits
        for name in (None, split["name"])
    ]
    found = []
    for path in dict.fromkeys([*lists, os.path.join(run.folder, _REPLACED)]):
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = (line.rstrip("\n").partition("\t") for line in file)
                found += [Failure(name, reason) for name, _, reason in lines]
    return [*found, *(failure for split in splits for failure in split["failures"])]


def find_results(folders: Sequence[str], name: str, needed: str) -> List[Facts]:
    """What `eat evaluate` or `eat probe` wrote into some folders and below them.

    Args:
        folders: where to look.
        name: of the files, metrics.json or probe.json.
        needed: a key that each must have.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file of that name holds something else.
    """
    results: Dict[str, Facts] = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"no such folder: {folder}, expected the --out of `eat evaluate` or `eat probe`"
            )
        for path in map(str, sorted(Path(folder).rglob(name))):
            try:
                values = json.loads(Path(path).read_text(encoding="utf-8"))
                results[path] = {**values, needed: values[needed], "path": path}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}: found no results ({error}), expected a file of `eat evaluate --out`"
                    " or `eat probe --out`"
                ) from error
    return list(results.values())


def training_columns(log: Optional[TrainingLog]) -> Dict[str, np.ndarray]:
    """What was logged of the training itself, as finely as it was; empty without a log."""
    return next((log[kind] for kind in ("train_inner", "train") if kind in log), {}) if log else {}


def measure_speed(columns: Dict[str, np.ndarray]) -> Facts:
    """The speed of a run by its `training_columns`; empty if they do not tell."""
    if not {"ups", "bsz", "train_wall"} <= set(columns):
        return {}
    rates, clips, in_updates = columns["ups"], columns["bsz"], columns["train_wall"]
    seconds = np.diff(columns["num_updates"], prepend=0) / np.maximum(rates, 1e-9)
    if len(rates) > 1:  # the first line holds the start: compilation, caches, the first batch
        rates, clips, in_updates, seconds = rates[1:], clips[1:], in_updates[1:], seconds[1:]
    total_seconds = float(np.nansum(seconds))
    # fairseq rounds the time in updates to whole seconds: short runs do not tell.
    share_in_updates = min(1.0, float(np.nansum(in_updates)) / max(total_seconds, 1e-9))
    updates_per_second, clips_per_update = float(np.nanmedian(rates)), float(np.nanmedian(clips))
    return {
        "updates_per_second": updates_per_second,
        "slow_updates_per_second": float(np.nanpercentile(rates, 10)),
        "clips_per_update": clips_per_update,  # of all workers together
        "clips_per_second": updates_per_second * clips_per_update,
        "share_waiting": 1 - share_in_updates if total_seconds >= _MIN_SECONDS_FOR_SHARE else None,
    }


def list_warnings(columns: Dict[str, np.ndarray]) -> List[str]:
    """What is wrong with a training, as far as its `training_columns` tell."""
    warnings = []
    losses = columns.get("loss", np.array([]))
    num_bad = int((~np.isfinite(losses)).sum())
    if num_bad:
        warnings.append(f"The loss is not finite in {num_bad} of {len(losses)} log lines.")
    num_skipped = int(latest(columns.get("skipped_updates", np.zeros(1))))
    if num_skipped:
        warnings.append(
            f"{num_skipped} updates since the last start were skipped because their gradients were"
            " not finite."
        )
    for column, what in (("target_var", "targets"), ("prediction_var", "predictions")):
        if column in columns and latest(columns[column]) < _COLLAPSED_BELOW:
            warnings.append(
                f"The spread of the {what} is {latest(columns[column]):.2f}: the model has"
                " collapsed, all patches look the same to it."
            )
    return warnings


def latest(values: np.ndarray) -> float:
    """The last value that was logged."""
    logged = values[~np.isnan(values)]
    return float(logged[-1]) if len(logged) else math.nan


def as_duration(seconds: float) -> str:
    """Time in two units: 3 d 4 h, 2 h 5 min, 1 min 20 s, 12 s."""
    seconds = round(seconds)
    for size, unit, small_size, small in (
        (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small_size} {small}"
    return f"{seconds} s"
