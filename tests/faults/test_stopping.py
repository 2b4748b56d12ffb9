"""Runs that are asked to stop save where they are, say so in one line, and continue from there."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from faults.training import InterruptAt, differences, start_workers, wait_for
from helpers import MINIATURE, REPOSITORY, logged, train_command

pytestmark = pytest.mark.slow

SETTINGS = [
    *MINIATURE,
    "checkpoint.save_dir=checkpoints",
    "dataset.num_workers=2",
    "dataset.data_buffer_size=2",
    "lr_scheduler.warmup_updates=10",
    "optimization.max_update=30",
]
STOPPED = r"stopped at update (\d+), saved in checkpoints; the same command continues"


@pytest.fixture
def run(manifests, tmp_path):
    """`run(name, *overrides)` starts a run in a process group of its own."""

    def begin(name, *overrides, num_workers=1, before=os.setpgrp):
        (tmp_path / name).mkdir(exist_ok=True)
        settings = [f"task.data='{manifests}'", *SETTINGS, *overrides]
        return start_workers(num_workers, settings, tmp_path / name, before=before)

    return begin


def log(folder, worker=0):
    path = folder / f"log.{worker}.txt"
    return path.read_text() if path.exists() else ""


def read(folder, name="checkpoint_last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def at_update(update, folder):
    return lambda: any(line["num_updates"] >= update for line in logged(log(folder)))


def interrupt(processes, number):
    """Send a signal to all processes of a run, those that load data too, as a terminal does."""
    for process in processes:
        os.killpg(process.pid, number)


def stop(processes, folder, number, status):
    """Returns the update at which the run stopped."""
    interrupt(processes, number)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [status] * len(processes), log(folder)
    found = re.findall(STOPPED, log(folder))
    assert found and "Traceback" not in log(folder), log(folder)[-3000:]
    return int(found[-1])


def finish(processes, folder):
    for process in processes:
        process.join(120)
        assert process.exitcode == 0, log(folder)[-3000:]


@pytest.mark.parametrize(
    ("num_workers", "number", "status"),
    [(1, signal.SIGINT, 130), (1, signal.SIGUSR1, 143), (2, signal.SIGTERM, 143)],
)
def test_no_update_is_lost_and_the_end_is_the_same(run, tmp_path, num_workers, number, status):
    shared = ["common.cpu=true"] if num_workers == 2 else []
    finish(run("whole", *shared, num_workers=num_workers), tmp_path / "whole")
    folder = tmp_path / "stopped"
    for update in (5, 14):
        processes = run("stopped", *shared, num_workers=num_workers)
        assert wait_for(at_update(update, folder), processes[0]), log(folder)[-3000:]
        stopped_at = stop(processes, folder, number, status)
        assert stopped_at == logged(log(folder))[-1]["num_updates"]
        assert read(folder)["optimizer_history"][-1]["num_updates"] == stopped_at
    finish(run("stopped", *shared, num_workers=num_workers), folder)
    updates = [int(line["num_updates"]) for line in logged(log(folder))]
    assert updates == list(range(1, 31))
    assert differences(read(folder), read(tmp_path / "whole")) == []


def test_a_run_that_has_not_begun_says_that_there_is_nothing_to_save(run, tmp_path):
    processes = run("run")
    folder = tmp_path / "run"
    assert wait_for(lambda: "num. shared model params" in log(folder), processes[0])
    interrupt(processes, signal.SIGINT)
    processes[0].join(60)
    assert processes[0].exitcode == 130
    assert log(folder).count("stopped before the first update: there is nothing to save") == 1
    assert "Traceback" not in log(folder)
    assert not (folder / "checkpoints" / "checkpoint_last.pt").exists()


@pytest.mark.parametrize("step", ["optimizer_step", "valid_step"])
@pytest.mark.parametrize("update", [3, 4, 6])
def test_a_validation_that_was_due_is_made_up_for(run, tmp_path, step, update):
    """At the end of an epoch, within one, and at the end of the run; before or in a validation."""
    every_2 = ["dataset.validate_interval_updates=2", "dataset.validate_interval=1"]
    settings = [*every_2, "checkpoint.save_interval=1", "optimization.max_update=6"]
    settings = [*settings, "lr_scheduler.warmup_updates=2", "dataset.batch_size_valid=1"]
    finish(run("whole", *settings), tmp_path / "whole")
    folder = tmp_path / "stopped"
    processes = run("stopped", *settings, before=InterruptAt(step, update))
    processes[0].join(60)
    assert processes[0].exitcode == 130, log(folder)[-3000:]
    assert re.findall(STOPPED, log(folder)) == [str(update)]
    finish(run("stopped", *settings), folder)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        assert differences(read(folder, name), read(tmp_path / "whole", name)) == []
    kinds = ("valid_loss", "valid_num_updates", "valid_best_loss")
    found, expected = (
        [[line.get(kind) for kind in kinds] for line in logged(log(each), "valid")]
        for each in (folder, tmp_path / "whole")
    )
    assert found == expected


def test_a_second_ctrl_c_ends_the_run_at_once(manifests, tmp_path):
    settings = [f"task.data='{manifests}'", *SETTINGS]
    code = (
        "import sys; from faults.training import InterruptAt\n"
        "InterruptAt('optimizer_step', 2, 2)()\n"
        f"sys.argv = {train_command('pretrain_tiny', settings)[2:]!r}\n"
        "from fairseq_cli.hydra_train import cli_main; cli_main()"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = f"{REPOSITORY / 'tests'}:{REPOSITORY / 'user_dir'}"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGINT, ended.stderr
    assert ended.stderr.splitlines()[-2:] == [
        "stopping after this update; another Ctrl-C ends the run at once, unsaved",
        "interrupted: what was not saved is lost",
    ]
    assert "Traceback" not in ended.stderr and not list(tmp_path.glob("checkpoints/*.pt"))


def test_a_run_also_saves_by_time(run, tmp_path):
    folder = tmp_path / "run"
    processes = run("run", "task.save_interval_minutes=0.00001", "optimization.max_update=11")
    finish(processes, folder)
    saved = re.findall(r"Saved checkpoint .*checkpoint_last.pt \(epoch \d+ @ (\d+)", log(folder))
    assert [int(update) for update in saved] == [2, 4, 6, 8, 10]
