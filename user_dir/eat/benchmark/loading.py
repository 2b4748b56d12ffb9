"""How fast clips are read, and whether training waits for them; each in a process of its own."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from torch.utils.data import DataLoader, Dataset

from eat.audio import LogMel, audio_info
from eat.data.manifest import Manifest, write_manifest
from eat.nn import MaskingConfig

from .baseline import StraightforwardDataset
from .machine import time_call
from .recordings import KINDS, FileKind, write_recordings

BATCH_SIZE = 12
NUM_WORKERS = 2  # of a training
NUM_SKIPPED = 2  # updates while the workers start


class LoadingCase(NamedTuple):
    """What one process measures."""

    kind: FileKind
    num_clips: int
    seconds: float
    repeats: int


class WaitingCase(NamedTuple):
    """What one process measures; None: as in the config. Also a case of `update.compose`."""

    config: str
    dtype: str
    clips: Optional[int]
    device: str
    repeats: int
    clones: Optional[int] = None
    frames: Optional[int] = None
    compile: str = "config"
    settings: Sequence[str] = ()
    data: str = ""


def measure_loading(case: LoadingCase) -> Dict[str, Any]:
    """Clips per second of one worker, with our loader and with the straightforward one."""
    from eat.data.datasets import PretrainingDataset

    from . import update

    update.import_fairseq()
    log_mel, masking = LogMel(), MaskingConfig()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_recordings(Path(folder), case.kind, case.num_clips, case.seconds)
        manifest = list_recordings(Path(folder) / "train.tsv", paths)
        ours = PretrainingDataset(manifest, log_mel, 0, shuffle=False, masking=masking, seed=1)
        baseline = StraightforwardDataset(paths, log_mel, masking)
        rates: Dict[str, List[float]] = {"ours": [], "baseline": []}
        for _ in range(case.repeats):  # in turn, as the machine's speed changes by the minute
            rates["ours"].append(time_worker(ours))
            rates["baseline"].append(time_worker(baseline))
    usual = {name: statistics.median(values) for name, values in rates.items()}
    ratios = [a / b for a, b in zip(rates["ours"], rates["baseline"], strict=True)]
    return {
        "files": f"{case.kind}, {case.seconds:g} s",
        "clips_per_second": usual["ours"],
        "baseline_clips_per_second": usual["baseline"],
        "ratio": statistics.median(ratios),
    }


def time_worker(data: Dataset) -> float:
    """Clips per second that one worker process makes batches of, once it has made the first."""
    loader = DataLoader(data, BATCH_SIZE, num_workers=1, collate_fn=data.collater, drop_last=True)
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    num_batches = sum(1 for _ in batches)
    return num_batches * BATCH_SIZE / (time.perf_counter() - start)


def list_recordings(file: Path, paths: List[str]) -> Manifest:
    """A manifest of audio files in its folder."""
    entries = [(Path(path).name, audio_info(path).num_samples) for path in paths]
    write_manifest(file, ".", entries)
    return Manifest(file)


def measure_waiting(case: WaitingCase) -> Dict[str, Any]:
    """How long the updates of a training wait for their batches."""
    from . import update

    update.import_fairseq()
    with tempfile.TemporaryDirectory() as folder:
        num_clips = case.repeats + NUM_SKIPPED
        paths = write_recordings(Path(folder), KINDS[0], num_clips, 10.0)
        # Each is listed as often as there are clips in an update: to make more takes too long.
        cfg = update.compose(case._replace(data=folder))
        list_recordings(Path(folder) / "train.tsv", paths * cfg.dataset.batch_size)
        cfg.dataset.num_workers = NUM_WORKERS
        waits, updates = time_updates(update.build_trainer(cfg), case.device)
    return {
        "config": case.config,
        "dtype": case.dtype,
        "clips": cfg.dataset.batch_size,
        "clones": cfg.model.num_clones,
        "workers": NUM_WORKERS,
        "update_ms": 1e3 * statistics.median(updates),
        "wait_ms": 1e3 * statistics.median(waits),
        "longest_wait_ms": 1e3 * max(waits),
        "share_of_time": sum(waits) / (sum(waits) + sum(updates)),
    }


def time_updates(trainer: Any, device: str) -> Tuple[List[float], List[float]]:
    """Seconds that each update waits for its batch, and then takes; without the first ones."""
    trainer.task.load_dataset("train")
    batches = trainer.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True)
    waits, updates = [], []
    while batches.has_next():
        batch: List[Any] = []
        waits.append(time_call(lambda batch=batch: batch.append(next(batches))))
        updates.append(time_call(lambda batch=batch: trainer.train_step(batch), device))
    return waits[NUM_SKIPPED:], updates[NUM_SKIPPED:]
