"""What the clips of a run are like, as far as their files can be reached."""

import os
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from eat.data.manifest import Manifest
from eat.data.sampling import draw_clips
from eat.data.split import open_split
from eat.data.writing import unreadable_file
from eat.training.run_folder import Run
from eat.work import map_in_threads

MAX_CLIPS = 2000  # of a split, whose headers are read; of more, random ones
_NUM_THREADS = 16  # which mostly wait for the disk
REPLACED = "bad_audio.tsv"  # what training with task.bad_audio=skip found, file<TAB>reason


class BadFile(NamedTuple):
    """A file that cannot be used, and why."""

    path: str
    reason: str


class Split(NamedTuple):
    """One manifest of a run.

    Attributes:
        name: e.g. train.
        manifest: its file.
        num_clips: lines of it.
        num_used: clips that are long enough; None if unknown.
        seconds: (N,) lengths of the clips whose headers were read.
        rates_hz, channels: how many of these have which.
        bad_files: clips whose headers could not be read.
        labels: clips by class, the most frequent first; None without labels.
    """

    name: str
    manifest: str
    num_clips: int
    num_used: Optional[int]
    seconds: np.ndarray
    rates_hz: Counter
    channels: Counter
    bad_files: List[BadFile]
    labels: Optional[List[Tuple[str, int]]] = None

    @property
    def num_read(self) -> int:
        """Clips whose headers were asked for."""
        return len(self.seconds) + len(self.bad_files)

    @property
    def hours(self) -> float:
        """Of all clips; an estimate if not all headers were read."""
        return float(self.seconds.mean()) * self.num_clips / 3600 if len(self.seconds) else 0.0


def list_splits(run: Run) -> Dict[str, str]:
    """The manifests of a run by split: as noted when it was started, else by its configuration."""
    noted = run.starts[-1].get("data", {}) if run.starts else {}
    if noted:
        return {split: data["manifest"] for split, data in noted.items()}
    task, dataset = run.section("task"), run.section("dataset")
    names = [dataset.get("train_subset"), *str(dataset.get("valid_subset") or "").split(",")]
    if not task.get("data"):
        return {}
    return {name: os.path.join(task["data"], f"{name}.tsv") for name in names if name}


def examine_split(name: str, file: str, run: Run, max_clips: int = MAX_CLIPS) -> Split:
    """Read a manifest and the headers of its clips.

    Raises:
        FileNotFoundError: there is no such manifest.
        ManifestError: a bad line.
    """
    manifest = Manifest(file)
    clips = draw_clips(len(manifest), max_clips, seed=1).tolist()
    results = map_in_threads(
        lambda clip: _read_header(manifest, clip), clips, _NUM_THREADS, f"reading {name}",
        failed=lambda result: isinstance(result, BadFile),
    )  # fmt: skip
    infos, bad_files = [], []
    for result in results:
        (bad_files if isinstance(result, BadFile) else infos).append(result)
    noted = run.starts[-1].get("data", {}).get(name) if run.starts else None
    return Split(
        name=name,
        manifest=manifest.file,
        num_clips=len(manifest),
        num_used=noted["used"] if noted else None,
        seconds=np.array([info.duration_seconds for info in infos]),
        rates_hz=Counter(info.sample_rate_hz for info in infos),
        channels=Counter(info.num_channels for info in infos),
        bad_files=bad_files,
        labels=_count_labels(manifest),
    )


def _read_header(manifest: Manifest, clip: int) -> Union[Any, BadFile]:
    from eat.audio import audio_info

    path = manifest.path(clip)
    try:
        return audio_info(path)
    except (ValueError, OSError) as error:
        return BadFile(manifest.location(clip), str(error))


def _count_labels(manifest: Manifest) -> Optional[List[Tuple[str, int]]]:
    folder, file = os.path.split(manifest.file)
    name = os.path.splitext(file)[0]
    if not os.path.exists(os.path.join(folder, f"{name}.lbl")):
        return None
    _, descriptors, labels = open_split(folder, name)
    named = zip((label.name for label in descriptors), labels.counts.tolist(), strict=True)
    return sorted(named, key=lambda item: -item[1])


def read_bad_files(run: Run, splits: Sequence[Split]) -> List[BadFile]:
    """What `eat manifest` left out, as noted beside the manifests, and what training replaced."""
    lists = [
        os.path.join(os.path.dirname(split.manifest), unreadable_file(name))
        for split in splits
        for name in (None, split.name)
    ]
    found = []
    for path in dict.fromkeys([*lists, os.path.join(run.folder, REPLACED)]):
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = (line.rstrip("\n").partition("\t") for line in file)
                found += [BadFile(name, reason) for name, _, reason in lines]
    return found
