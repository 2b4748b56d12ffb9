"""Runs that would wait for ever end, and say why."""

import os
import signal
import subprocess
import time

import pytest
from faults.training import start_workers, wait_for
from helpers import MINIATURE, train_command

pytestmark = pytest.mark.slow

SMALL_DEV_SHM = 'mount -t tmpfs -o size="$0" tmpfs /dev/shm && exec "$@"'


def can_unshare():
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="another /dev/shm needs root and unshare -m")
@pytest.mark.parametrize("size", ["200k", "40k"])  # of which a lock of the loaders has 4k
@pytest.mark.parametrize("num_ahead", [0, 2])
def test_a_dev_shm_that_is_too_small_ends_the_run(manifests, tmp_path, size, num_ahead):
    settings = [
        *(*MINIATURE, "dataset.num_workers=2", "dataset.batch_size=6"),
        *(f"dataset.data_buffer_size={num_ahead}", f"task.data='{manifests}'"),
        f"checkpoint.save_dir='{tmp_path}'",
    ]
    command = ["unshare", "-m", "sh", "-c", SMALL_DEV_SHM, size]
    command += train_command("pretrain_tiny", settings)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "error: dataset.num_workers: /dev/shm has no room for the batches of the processes that"
        " load them; give it more (docker run --shm-size=8g, or --ipc=host), or set"
        " dataset.num_workers=0 ("
    )
    assert "Traceback" not in ended.stderr


def test_a_worker_ends_when_another_is_stopped_but_not_when_all_are(manifests, tmp_path):
    settings = [
        *(*MINIATURE, f"task.data='{manifests}'", "checkpoint.save_dir=run"),
        *("optimization.max_update=100000", "task.stall_minutes=0.1"),
        *("checkpoint.save_interval_updates=50", "dataset.validate_interval_updates=100"),
    ]
    workers = start_workers(2, settings, tmp_path)
    log = tmp_path / "log.0.txt"
    try:
        last = tmp_path / "run" / "checkpoint_last.pt"
        assert wait_for(last.exists, workers[0]), log.read_text()[-3000:]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for worker in workers:
                os.kill(worker.pid, number)
            time.sleep(9)
        assert all(worker.is_alive() for worker in workers), log.read_text()[-3000:]
        os.kill(workers[1].pid, signal.SIGSTOP)
        workers[0].join(60)
        assert workers[0].exitcode == 1
    finally:
        for worker in workers:
            worker.kill()
    line = "error: task.stall_minutes: worker 0 has finished no batch for 0.1 minutes, and ends."
    for path in (log, tmp_path / "run" / "train.log"):
        _, found, stacks = path.read_text().partition(line)
        assert found and "Another worker may have been stopped" in stacks.splitlines()[0]
        assert "in train_step" in stacks
