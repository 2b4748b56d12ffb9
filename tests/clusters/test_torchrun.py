"""torchrun, and workers that the training starts itself, on the CPU: one run of two processes."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest
from faults import training
from helpers import MINIATURE, REPOSITORY, logged, train_command

pytestmark = pytest.mark.slow

SETTINGS = [*MINIATURE, "common.fp16=false", "common.bf16=false", "common.cpu=true"]


@pytest.fixture
def start(manifests, tmp_path):
    """`start(name, *overrides, launcher=())` starts a run whose output goes to the file `name`."""
    processes = []

    def start(name, *overrides, launcher=()):
        folder = f"checkpoint.save_dir={tmp_path / 'run'}"
        command = train_command("pretrain_tiny", [f"task.data='{manifests}'", *SETTINGS, folder])
        launch = [*command[:1], "-m", "torch.distributed.run", *launcher] if launcher else []
        program = [*launch, *command[1:]] if launcher else command
        with open(tmp_path / name, "w") as out:
            process = subprocess.Popen(
                [*program, *overrides],
                cwd=REPOSITORY,
                stdout=out,
                stderr=out,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def expected(manifests, tmp_path):
    """What two processes log that are told everything."""
    (tmp_path / "two").mkdir()
    settings = [f"task.data='{manifests}'", *SETTINGS, "checkpoint.save_dir=run"]
    return logged(training.run(settings, tmp_path / "two", num_workers=2).check().log)


def check_losses(text, expected):
    found = logged(text)
    assert len(found) == len(expected) == 3, text[-3000:]
    for key in ("loss", "bsz", "gnorm"):
        assert [line[key] for line in found] == [line[key] for line in expected]


def test_torchrun_on_one_machine(start, tmp_path, expected):
    assert start("log", launcher=["--nproc_per_node=2"]).wait(300) == 0
    check_losses((tmp_path / "log").read_text(), expected)


def test_torchrun_on_two_machines(start, tmp_path, expected):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    launcher = [
        *("--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", "--rdzv_id=1"),
        f"--rdzv_endpoint=127.0.0.1:{port}",
    ]
    nodes = [start(f"log{node}", "+run_config=torchrun", launcher=launcher) for node in (0, 1)]
    assert [node.wait(300) for node in nodes] == [0, 0]
    check_losses("".join((tmp_path / f"log{node}").read_text() for node in (0, 1)), expected)


def test_workers_that_the_training_starts(start, tmp_path, expected):
    two = "distributed_training.distributed_world_size=2"
    assert start("log", two).wait(300) == 0
    check_losses((tmp_path / "log").read_text(), expected)


@pytest.mark.parametrize("everyone", [False, True])
def test_ctrl_c_saves_once_and_the_run_goes_on(start, tmp_path, everyone):
    """A terminal sends Ctrl-C to all processes, `kill -INT` to the first one."""
    overrides = ["distributed_training.distributed_world_size=2", "optimization.max_update=100000"]
    process = start("log", *overrides)
    log, deadline = tmp_path / "log", time.monotonic() + 240
    while '"num_updates"' not in log.read_text():
        assert time.monotonic() < deadline and process.poll() is None, log.read_text()
        time.sleep(0.1)
    (os.killpg if everyone else os.kill)(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    text = log.read_text()
    (update,) = re.findall(r"stopped at update (\d+), saved in", text)
    assert "Traceback" not in text
    more = f"optimization.max_update={int(update) + 1}"
    assert start("again", overrides[0], more).wait(300) == 0
    assert f"@ {update} updates)" in (tmp_path / "again").read_text()


def test_an_error_in_a_worker_is_one_line(start, tmp_path):
    overrides = ["distributed_training.distributed_world_size=2", "task.min_samples=1000000000"]
    assert start("log", *overrides).wait(300) == 1
    text = (tmp_path / "log").read_text()
    assert re.search("^error: .*min_samples", text, re.MULTILINE), text
    assert "Traceback" not in text


def test_a_recipe_that_does_not_load_the_plugin_early_is_refused(start, tmp_path):
    late = "~hydra.job_logging.filters"
    assert start("log", late, launcher=["--nproc_per_node=2"]).wait(300) != 0
    assert "error: WORLD_SIZE: found 2 processes that each would train alone" in (
        (tmp_path / "log").read_text()
    )
    assert not (tmp_path / "run" / "checkpoint_last.pt").exists()
