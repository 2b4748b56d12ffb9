"""Whether training waits for its data: what a loader's worker delivers, and what is needed."""

import math
import os
import statistics
import time
from dataclasses import replace
from typing import Any, Dict

import numpy as np
from torch.utils.data import DataLoader, Dataset

from eat.audio import AudioError
from eat.data.sampling import draw_clips
from eat.data.split import split_of

from .measuring import time_call
from .update import Update, UpdateCase, compose, import_fairseq

MAX_CLIPS = 240  # that a round reads, drawn at random


def measure_loading(case: UpdateCase) -> Dict[str, Any]:
    """Measure what one worker reads, and then what an update takes; a flat dict.

    Training waits if its workers deliver less than it needs. On a CPU they also share the cores
    with the network, so that the true wait is longer.

    Args:
        case: the training; `data` is the manifest (.tsv) that it is to read.

    Raises:
        ManifestError, AudioError: a bad line, or a clip that cannot be read.
    """
    import_fairseq()
    folder, split = split_of(os.path.abspath(case.data))
    cfg = compose(replace(case, data=folder))
    update = Update(cfg, case)
    task, batch_size, workers = update.trainer.task, cfg.dataset.batch_size, cfg.dataset.num_workers
    task.load_dataset(split)
    data, rounds = task.dataset(split), range(case.repeats)
    rate = statistics.median(time_worker(data, batch_size, seed) for seed in rounds)
    update.whole()  # makes the optimizer
    seconds = statistics.median(time_call(update.whole, case.device) for _ in rounds)
    needed = batch_size / seconds
    return {
        "manifest": case.data,
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


def time_worker(data: Dataset, batch_size: int, seed: int) -> float:
    """Clips per second of one worker process, from its second batch on.

    Args:
        data: a data set of fairseq; small ones are read several times.
        batch_size: clips in a batch.
        seed: of the draw of clips.
    """
    clips = draw_clips(len(data), MAX_CLIPS, seed)
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
