"""Manifests of millions of clips: what opening one costs, and whether an epoch eats memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import REPOSITORY

NUM_CLIPS = 2_000_000
PATHS = [REPOSITORY / "user_dir", REPOSITORY / "tests"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
# In a process of its own, whose memory nothing else has raised.
CODE = """
import sys
import time
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

def best_time(function):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)

opening = best_time(lambda: Manifest(sys.argv[1]))
in_lines = best_time(lambda: sum(line.endswith(b"0") for line in open(sys.argv[1], "rb")))
print(len(manifest), opened - before, len(epoch.next_epoch_itr()), opening / in_lines)
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
    num_clips, growth, num_batches, opening = map(float, run.stdout.split()[-4:])
    assert num_clips == NUM_CLIPS
    # 8 bytes a clip for its length and some for its place; the file itself is mapped.
    assert growth - file.stat().st_size < 10 * NUM_CLIPS + 4_000_000
    assert num_batches == -(-NUM_CLIPS // 12 // 4)
    assert opening < 4  # times as long as Python takes for the lines of a file; about 1.2


# All lines address one short clip, which is not decoded: that is not what could grow.
EPOCH = """
import gc
import json
import os
import sys
import torch
from fairseq import tasks
from helpers import compose
import eat.tasks
from eat.data.datasets import SpectrogramDataset

def private_bytes(process):
    with open(f"/proc/{process}/smaps_rollup") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_Dirty"))

class Clips(SpectrogramDataset):
    def _read(self, clip):
        assert self.manifest.path(clip) and self.manifest.clip_samples(clip) == 400
        return torch.zeros(400), 0, 0

    def _spectrogram(self, clip, waveform):
        return torch.full((1, 16, 16), 0.5), 0

# Else the first full garbage collection writes to all that forked loaders share with this process.
gc.freeze()
task = tasks.setup_task(compose("pretrain_tiny", task__data=sys.argv[1]).task)
task.cfg.min_samples = 0
data = task.datasets["train"] = Clips(**task.clips_of("train"))
batches = task.get_batch_iterator(
    data, max_sentences=500, seed=1, epoch=1, num_workers=2, data_buffer_size=4
).next_epoch_itr()
seen, used = 0, []
for number, batch in enumerate(batches):
    seen += len(batch["id"])
    if number % 50 == 49 and len(data) - seen > 20_000:  # then the loaders end
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as children:
            processes = [os.getpid(), *map(int, children.read().split())]
        used.append([private_bytes(process) for process in processes])
print(json.dumps({"seen": seen, "used": used}))
"""
NUM_CLIPS_OF_EPOCH = 1_000_000


@pytest.mark.slow
def test_an_epoch_of_a_million_clips_does_not_eat_memory(tmp_path):
    """Neither the training process nor one of two loaders grows after a tenth of it."""
    pytest.importorskip("fairseq")
    line = "unbalanced_train_segments_part00/Y0123456789a.wav\t400\n"
    (tmp_path / "train.tsv").write_text("/data/audioset\n" + line * NUM_CLIPS_OF_EPOCH)
    run = subprocess.run(
        [sys.executable, "-c", EPOCH, str(tmp_path)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["seen"] == NUM_CLIPS_OF_EPOCH
    used = np.array(found["used"])
    assert used.shape == (39, 3) and used.min() > 10_000_000
    growth = used[-4:].mean(axis=0) - used[4:8].mean(axis=0)
    # One Python object for each clip that a loader reads would be 11 MB.
    assert growth.max() < 5_000_000, growth
