import gc
import multiprocessing
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from fairseq.data.iterators import EpochBatchIterator

from eat.training.epochs import ResumableIterator
from eat.training.shared_memory import SharedMemoryError


class Numbers(torch.utils.data.Dataset):
    """Clips that are their own numbers."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return int(index)


def batch_of_tensors(clips):
    return {"net_input": {"source": torch.tensor(clips)}}


def iterators(num_shards, batch_size=2, collate=list, **kwargs):
    """One for each worker."""
    batches = np.split(np.random.default_rng(1).permutation(24), range(batch_size, 24, batch_size))
    return [
        ResumableIterator(
            EpochBatchIterator(
                *(Numbers(), collate, batches),
                **{"seed": 1, "num_shards": num_shards, "shard_id": worker, **kwargs},
            )
        )
        for worker in range(num_shards)
    ]


def take(workers, num_iterations=None):
    """The clips of the next iterations of all workers."""
    epochs = [iterator.next_epoch_itr() for iterator in workers]
    clips = []
    while epochs[0].has_next() and num_iterations != 0:
        clips += [clip for epoch in epochs for clip in next(epoch)]
        num_iterations = num_iterations and num_iterations - 1
    return clips


def resume(workers, state):
    for iterator in workers:
        iterator.load_state_dict(state)
    return workers


@pytest.mark.parametrize("before, after", [(1, 2), (2, 1), (2, 4), (4, 1), (3, 3)])
def test_another_number_of_workers_sees_the_rest_of_the_epoch(before, after):
    workers = iterators(before)
    seen = take(workers, 8 // before if before < 3 else 2)
    rest = take(resume(iterators(after), workers[0].state_dict()))
    assert sorted(seen + rest) == list(range(24))


def test_batches_come_twice_rather_than_never():
    workers = iterators(1)
    seen = take(workers, 7)
    rest = take(resume(iterators(4), workers[0].state_dict()))
    assert set(seen + rest) == set(range(24))
    assert len(seen + rest) == 24 + 6  # three of the seven batches


def test_the_same_number_of_workers_goes_on_where_it_was():
    expected = take(iterators(2))
    workers = iterators(2)
    seen = take(workers, 4)
    assert seen + take(resume(iterators(2), workers[0].state_dict())) == expected


def test_another_batch_size_sees_as_many_clips():
    workers = iterators(2, batch_size=2)
    take(workers, 3)
    rest = take(resume(iterators(1, batch_size=6), workers[0].state_dict()))
    assert len(rest) == 24 - 12


def test_the_end_of_an_epoch_is_the_start_of_the_next():
    workers = iterators(2)
    take(workers)
    state = workers[0].state_dict()
    (alone,) = resume(iterators(1), state)
    assert (state["epoch"], alone.next_epoch_idx) == (2, 2)
    assert len(take([alone])) == 24


def test_checkpoints_of_earlier_versions_are_read():
    workers = iterators(2)
    take(workers, 2)
    state = workers[0].state_dict()
    del state["clips_per_iteration"]
    assert len(take(resume(iterators(2), state))) == 24 - 8


def count_helpers():
    """Processes and threads beside the one that runs the test."""
    return len(multiprocessing.active_children()), threading.active_count()


@pytest.mark.parametrize("buffer_size", [0, 2])
@pytest.mark.parametrize("num_iterations", [None, 3])
def test_processes_that_load_end_with_their_epoch(buffer_size, num_iterations):
    """At once, and not when Python next looks for circles of references."""
    gc.collect()
    gc.disable()
    _, num_threads = count_helpers()
    try:
        for _ in range(2):
            workers = iterators(1, num_workers=2, buffer_size=buffer_size)
            take(workers, num_iterations)
            assert num_iterations is None or len(multiprocessing.active_children()) == 2
            del workers
            deadline = time.monotonic() + 20
            while count_helpers() > (0, num_threads) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert count_helpers() == (0, num_threads)
    finally:
        gc.enable()


def test_a_thread_that_reads_ahead_ends_before_python_does(tmp_path):
    """Else it is killed in the middle of an operation, which may abort the process."""
    script = tmp_path / "script.py"
    script.write_text(ENDS_EARLY)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


ENDS_EARLY = """
import time
import torch
from fairseq.data.iterators import EpochBatchIterator
from eat.training.epochs import ResumableIterator
from eat.training.shared_memory import SharedMemoryError

class Slow(torch.utils.data.Dataset):
    is_first = True

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        if not self.is_first:
            time.sleep(0.5)
            print("stopped", flush=True)
        self.is_first = False
        return index

batches = [[index] for index in range(1000)]
iterator = ResumableIterator(EpochBatchIterator(Slow(), list, batches, buffer_size=4))
epoch = iterator.next_epoch_itr()
next(epoch)
raise SystemExit(0)
"""


def test_a_batch_without_room_in_shared_memory_is_an_error_and_not_lost(monkeypatch):
    """torch would drop it in a thread of the loading process, and wait for it for ever."""

    def refuse(tensor):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    (iterator,) = iterators(1, num_workers=1, collate=batch_of_tensors)
    with pytest.raises(SharedMemoryError, match="/dev/shm has no room .* dataset.num_workers=0"):
        take([iterator])
