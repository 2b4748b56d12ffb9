"""What a manifest of millions of clips costs; measured in a process of its own."""

import logging
import tempfile
from pathlib import Path
from typing import Any, Dict

import numpy as np

from eat.audio import LogMel
from eat.data.manifest import Manifest

from .machine import PeakMemory, time_call

BATCH_SIZE = 12
NUM_SHARDS = 4  # GPUs
_LINES_AT_ONCE = 100_000


def measure_listing(num_clips: int) -> Dict[str, Any]:
    """Seconds and memory to open a manifest, and seconds to draw the batches of an epoch."""
    from eat.data.datasets import SpectrogramDataset

    logging.getLogger("fairseq").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.tsv"
        write_listing(file, num_clips)
        memory, found = PeakMemory("cpu"), []
        seconds_to_open = time_call(lambda: found.append(Manifest(file)))
        growth = memory.growth
        data = SpectrogramDataset(found[0], LogMel(), min_samples=10_000, shuffle=True)
        return {
            "lines": num_clips,
            "file_mb": file.stat().st_size / 1e6,
            "open_seconds": seconds_to_open,
            "memory_beyond_file_mb": (growth - file.stat().st_size) / 1e6,
            "epoch_seconds": time_call(lambda: draw_epoch(data)),
        }


def write_listing(file: Path, num_clips: int) -> None:
    """Write a manifest with names like AudioSet's, of clips that are not there."""
    generator = np.random.default_rng(0)
    with open(file, "w", encoding="utf-8") as lines:
        lines.write("/data/audioset\n")
        for start in range(0, num_clips, _LINES_AT_ONCE):
            stop = min(start + _LINES_AT_ONCE, num_clips)
            lengths = generator.integers(100_000, 320_000, stop - start).tolist()
            lines.writelines(
                f"unbalanced_train_segments_part{index % 41:02}/Y{index:011x}.wav\t{length}\n"
                for index, length in enumerate(lengths, start)
            )


def draw_epoch(data: Any) -> int:
    """Order, batch and shard the clips of an epoch as fairseq does; returns the batches of one."""
    from fairseq.data import data_utils
    from fairseq.data.iterators import EpochBatchIterator

    with data_utils.numpy_seed(1):
        indices = data.ordered_indices()
    batches = data.batch_by_size(indices, max_sentences=BATCH_SIZE)
    epoch = EpochBatchIterator(data, data.collater, batches, num_shards=NUM_SHARDS, shard_id=0)
    return len(epoch.next_epoch_itr())
