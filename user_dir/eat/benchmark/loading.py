"""Whether training waits for its data: what a loader's worker delivers, and what is needed."""

import math
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any, Dict, Optional

import numpy as np
from torch.utils.data import DataLoader, Dataset

from eat.audio import AudioError
from eat.data.sampling import draw_clips
from eat.data.split import split_of

from .measuring import time_call
from .update import Update, UpdateCase, compose, import_fairseq


@dataclass(frozen=True)
class LoadingCase:
    """A manifest and the training that is to read it; None: as in the config."""

    manifest: str
    config: str = "tiny"  # of config/pretrain_*.yaml
    dtype: str = "fp32"
    clips: Optional[int] = None  # per update
    workers: Optional[int] = None  # processes that read
    max_clips: int = 240  # to read in a round, others in each; 0: all
    device: str = "cpu"
    repeats: int = 5  # rounds of reading, and timed updates


def measure_loading(case: LoadingCase) -> Dict[str, Any]:
    """Measure what one worker reads, and then what an update takes; a flat dict.

    Training waits if its workers deliver less than it needs. On a CPU they also share the cores
    with the network, so that the true wait is longer.
    """
    import_fairseq()
    folder, split = split_of(os.path.abspath(case.manifest))
    training = UpdateCase(
        case.config, case.dtype, clips=case.clips, data=folder, device=case.device
    )
    cfg = compose(training)
    update = Update(cfg, training)
    task, batch_size = update.trainer.task, cfg.dataset.batch_size
    task.load_dataset(split)
    rate = statistics.median(
        time_worker(task.dataset(split), batch_size, case.max_clips, seed)
        for seed in range(case.repeats)
    )
    update.whole()  # makes the optimizer
    seconds = statistics.median(time_call(update.whole, case.device) for _ in range(case.repeats))
    needed = batch_size / seconds
    workers = cfg.dataset.num_workers if case.workers is None else case.workers
    return {
        "manifest": case.manifest,
        "config": case.config,
        "dtype": case.dtype,
        "clips": batch_size,
        "clips_per_second": rate,
        "update_ms": 1e3 * seconds,
        "needed_clips_per_second": needed,
        "needed_workers": math.ceil(needed / rate),
        "workers": workers,
        "waits": workers * rate < needed,
    }


def time_worker(data: Dataset, batch_size: int, max_clips: int, seed: int) -> float:
    """Clips per second of one worker process, from its second batch on.

    Args:
        data: a data set of fairseq.
        batch_size: clips in a batch.
        max_clips: clips to read, drawn at random; 0: all. A few are read several times.
        seed: of the draw.

    Raises:
        AudioError: a clip cannot be read.
    """
    clips = draw_clips(len(data), max_clips, seed)
    batches = np.resize(clips, (max(3, len(clips) // batch_size), batch_size)).tolist()
    loader = DataLoader(data, batch_sampler=batches, num_workers=1, collate_fn=data.collater)
    read = iter(loader)
    try:
        next(read)  # the worker starts
        start = time.perf_counter()
        for _ in batches[1:]:
            next(read)
        return (len(batches) - 1) * batch_size / (time.perf_counter() - start)
    except AudioError as error:  # it starts with the traceback of the worker
        raise AudioError(str(error).strip().splitlines()[-1].partition(": ")[2]) from error
