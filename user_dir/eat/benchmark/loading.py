"""Whether training waits for its data: what a loader's worker delivers, and what is needed."""

import math
import os
import statistics
from collections import deque
from typing import Any, Dict

import numpy as np
from torch.utils.data import DataLoader, Dataset

from eat.audio import AudioError
from eat.data.sampling import draw_clips
from eat.data.split import split_of
from eat.training.shared_memory import SharedMemoryError, in_shared_memory
from eat.work import in_one_line

from . import LoadingCase, UpdateCase
from .measuring import time_call
from .update import Update, compose

MAX_CLIPS = 240  # that a round reads, drawn at random


def measure_loading(case: LoadingCase) -> Dict[str, Any]:
    """Measure what one worker reads, and then what an update takes; a flat dict.

    Training waits if its workers deliver less than it needs. On a CPU they also share the cores
    with the network, so that the true wait is longer. A ManifestError names a bad line, an
    AudioError a clip that cannot be read.
    """
    folder, split = split_of(os.path.abspath(case.manifest))
    training = UpdateCase(config=case.config, dtype=case.dtype, device=case.device, data=folder)
    training.clips, training.settings = case.clips, [*case.settings]
    if case.workers is not None:
        training.settings.append(f"dataset.num_workers={case.workers}")
    cfg = compose(training)
    update, batch_size = Update(cfg, training), cfg.dataset.batch_size
    update.trainer.task.load_dataset(split)
    data, rounds = update.trainer.task.dataset(split), range(case.repeats)
    rate = statistics.median(time_worker(data, batch_size, seed) for seed in rounds)
    update.run()  # makes the optimizer's state
    seconds = statistics.median(time_call(update.run, case.device) for _ in rounds)
    needed = batch_size / seconds
    return {
        "manifest": case.manifest,
        "config": case.config,
        "dtype": case.dtype,
        "settings": " ".join(case.settings),
        "clips": batch_size,
        "clips_per_second": rate,
        "update_ms": 1e3 * seconds,
        "needed_clips_per_second": needed,
        "needed_workers": math.ceil(needed / rate),
        "workers": cfg.dataset.num_workers,
        "waits": cfg.dataset.num_workers * rate < needed,
    }


def time_worker(data: Dataset, batch_size: int, seed: int) -> float:
    """Clips per second of one worker process on drawn clips, from its second batch on."""
    clips = draw_clips(len(data), MAX_CLIPS, seed)
    # Small data sets are read several times.
    batches = np.resize(clips, (max(3, len(clips) // batch_size), batch_size)).tolist()
    collate = in_shared_memory(data.collater)
    read = iter(DataLoader(data, batch_sampler=batches, num_workers=1, collate_fn=collate))
    try:
        next(read)  # the worker starts
        return (len(batches) - 1) * batch_size / time_call(lambda: deque(read, maxlen=0))
    except (AudioError, SharedMemoryError) as error:  # it starts with the worker's traceback
        raise type(error)(in_one_line(error)) from error
