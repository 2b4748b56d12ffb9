"""A manifest of millions of clips: what opening it and drawing an epoch of it costs."""

import subprocess
import sys

import pytest

NUM_CLIPS = 2_000_000
# In a process of its own, whose memory nothing else has raised.
CODE = """
import sys
import numpy as np
from fairseq.data import data_utils
from fairseq.data.iterators import EpochBatchIterator
from eat.audio import LogMel
from eat.benchmark.measuring import peak_bytes
from eat.data.datasets import SpectrogramDataset
from eat.data.manifest import Manifest

before = peak_bytes("cpu")
manifest = Manifest(sys.argv[1])
opened = peak_bytes("cpu")
data = SpectrogramDataset(manifest, LogMel(), min_samples=0, shuffle=True)
with data_utils.numpy_seed(1):
    batches = data.batch_by_size(data.ordered_indices(), max_sentences=12)
epoch = EpochBatchIterator(data, data.collater, batches, num_shards=4, shard_id=0)
print(len(manifest), opened - before, len(epoch.next_epoch_itr()))
"""


@pytest.mark.slow
def test_two_million_clips_take_little_more_than_their_file(tmp_path):
    pytest.importorskip("fairseq")
    file = tmp_path / "train.tsv"
    with open(file, "w", encoding="utf-8") as lines:
        lines.write("/data/audioset\n")
        lines.writelines(
            f"unbalanced_train_segments_part{clip % 41:02}/Y{clip:011x}.wav\t{clip % 99}0000\n"
            for clip in range(NUM_CLIPS)
        )
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(file)], capture_output=True, text=True, check=True
    )
    num_clips, growth, num_batches = map(int, run.stdout.split()[-3:])
    assert num_clips == NUM_CLIPS
    # 8 bytes a clip for its length and some for its place; the file itself is mapped.
    assert growth - file.stat().st_size < 10 * NUM_CLIPS + 4_000_000
    assert num_batches == -(-NUM_CLIPS // 12 // 4)
