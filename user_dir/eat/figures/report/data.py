"""What a page tells of a run's clips, as far as their files can be reached, and of its results."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from eat.audio import AudioInfo, audio_info
from eat.data.manifest import Manifest
from eat.data.sampling import draw_clips
from eat.data.split import open_split, split_of
from eat.data.writing import unreadable_file
from eat.training.run import Run
from eat.work import Failure, is_failure, map_in_threads

MAX_CLIPS = 2000  # of a split, whose headers are read; of more, random ones
_NUM_THREADS = 16  # which mostly wait for the disk
_REPLACED = "bad_audio.tsv"  # what training with task.bad_audio=skip found, file<TAB>reason


@dataclass
class SplitSummary:
    """One manifest of a run.

    Attributes:
        name: e.g. train.
        manifest: its clips.
        num_used: clips that are long enough for training; None if unknown.
        infos: the headers that were read.
        failures: the clips whose headers could not be read.
        labels: clips by class, the most frequent first; None without labels.
    """

    name: str
    manifest: Manifest
    num_used: Optional[int]
    infos: List[AudioInfo]
    failures: List[Failure]
    labels: Optional[List[Tuple[str, int]]]

    @property
    def seconds(self) -> np.ndarray:
        """(N,) lengths of the clips whose headers were read."""
        return np.array([info.duration_seconds for info in self.infos])

    @property
    def hours(self) -> float:
        """Of all clips; an estimate if not all headers were read."""
        return float(self.seconds.mean()) * len(self.manifest) / 3600

    def count(self, attribute: str) -> List[Tuple[Any, float]]:
        """The most frequent values of the headers, and the share of each in per cent."""
        counts = Counter(getattr(info, attribute) for info in self.infos)
        return [(value, 100 * n / len(self.infos)) for value, n in counts.most_common(5)]


def examine_splits(run: Run) -> List[SplitSummary]:
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
            splits.append(_examine_split(name, file, noted.get(name, {}).get("used")))
        except (ValueError, OSError) as error:
            run.notes.append(f"Nothing about the clips of {name}: {error}.")
    return splits


def _examine_split(name: str, file: str, num_used: Optional[int]) -> SplitSummary:
    manifest, descriptors, labels = open_split(*split_of(file), labelled=False)

    def read_header(clip: int) -> Union[AudioInfo, Failure]:
        try:
            return audio_info(manifest.path(clip))
        except (ValueError, OSError) as error:
            return Failure.of(manifest.location(clip), error)

    clips = draw_clips(len(manifest), MAX_CLIPS, seed=1).tolist()
    results = list(map_in_threads(read_header, clips, _NUM_THREADS, f"reading {name}"))
    counts = None
    if labels is not None:
        names = (label.name for label in descriptors)
        counts = sorted(zip(names, labels.counts.tolist(), strict=True), key=lambda item: -item[1])
    infos = [result for result in results if not is_failure(result)]
    failures = [result for result in results if is_failure(result)]
    return SplitSummary(name, manifest, num_used, infos, failures, counts)


def list_bad_files(run: Run, splits: Sequence[SplitSummary]) -> List[Failure]:
    """What `eat manifest` left out, what training replaced, and headers that cannot be read."""
    lists = [
        os.path.join(os.path.dirname(split.manifest.file), unreadable_file(name))
        for split in splits
        for name in (None, split.name)
    ]
    found = []
    for path in dict.fromkeys([*lists, os.path.join(run.folder, _REPLACED)]):
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = (line.rstrip("\n").partition("\t") for line in file)
                found += [Failure(name, reason) for name, _, reason in lines]
    return [*found, *(failure for split in splits for failure in split.failures)]


def find_results(folders: Sequence[str], name: str, needed: str) -> List[Dict[str, Any]]:
    """What `eat evaluate` or `eat probe` wrote into some folders and below them.

    Args:
        folders: where to look.
        name: of the files, metrics.json or probe.json.
        needed: a key that each must have.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file of that name holds something else.
    """
    results: Dict[str, Dict[str, Any]] = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"no such folder: {folder}, expected the --out of `eat evaluate` or `eat probe`"
            )
        for path in map(str, sorted(Path(folder).rglob(name))):
            results[path] = _read_result(path, needed)
    return list(results.values())


def _read_result(path: str, needed: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        values[needed]
        return {**values, "path": path}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: found no results ({error}), expected a file of `eat evaluate --out` or"
            " `eat probe --out`"
        ) from error
