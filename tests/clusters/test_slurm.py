"""Real jobs of a real Slurm: they train one run, and lose nothing when they are stopped."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from clusters import slurm
from faults import training
from faults.training import differences
from helpers import GOLDEN, MINIATURE, REPOSITORY, logged, train_command, write_clips, write_splits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not()),
]

NUM_UPDATES = 90
SETTINGS = [
    *MINIATURE,
    "common.fp16=false",
    "common.bf16=false",
    "common.cpu=true",
    "dataset.num_workers=2",
    "lr_scheduler.warmup_updates=2",
    "dataset.disable_validation=true",
    f"optimization.max_update={NUM_UPDATES}",
]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
TWO_NODES = (
    *("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2"),
    *("--time=20", "--gpus-per-node=0"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running Slurm, in whose jobs this environment's programs are found."""
    one = slurm.Slurm(tmp_path_factory.mktemp("slurm") / "cluster")
    one.environment["PATH"] = f"{Path(sys.executable).parent}:{one.environment['PATH']}"
    one.environment["OMP_NUM_THREADS"] = "1"
    yield one
    one.stop()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of a small pre-training, with its data."""
    folder = tmp_path_factory.mktemp("data")
    write_splits(folder, 120, 4)
    return [f"task.data={folder}", *SETTINGS]


@pytest.fixture(scope="module")
def expected(settings, tmp_path_factory):
    """The same run by two processes that nobody stops: its folder, and what it logged."""
    folder = tmp_path_factory.mktemp("expected")
    run = training.run([*settings, "checkpoint.save_dir=run"], folder, num_workers=2).check()
    return folder / "run", logged(run.log)


@pytest.fixture
def script(cluster, settings, tmp_path):
    """`script()` submits examples/slurm.sbatch: (the job, its log, its save_dir)."""

    def submit(*overrides):
        log, run = tmp_path / "job.log", tmp_path / "run"
        arguments = ("pretrain_tiny", *settings, f"checkpoint.save_dir={run}", *overrides)
        options = (*TWO_NODES, f"--chdir={REPOSITORY}", f"--output={log}")
        script = str(REPOSITORY / "examples" / "slurm.sbatch")
        return cluster.submit(*options, script, *arguments), log, run

    return submit


@pytest.fixture
def launcher(cluster, settings, tmp_path):
    """`launcher()` submits by hydra's launcher: (the job, the folder of its logs, its save_dir)."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    clients = []

    def submit(*overrides):
        logs, run = tmp_path / "slurm", tmp_path / "run"
        command = train_command(
            "pretrain_tiny",
            [
                *(*settings, f"checkpoint.save_dir={run}", "+run_config=slurm_cpu"),
                *("hydra/launcher=submitit_slurm", f"hydra.launcher.submitit_folder={logs}"),
                *("hydra.launcher.cpus_per_task=2", "hydra.launcher.mem_gb=null", *overrides),
            ],
        )
        command[:3] = ["fairseq-hydra-train", "--multirun"]
        options = {"cwd": tmp_path, "env": cluster.environment, "stderr": subprocess.DEVNULL}
        client = subprocess.Popen(command, **options)
        clients.append(client)
        while not (jobs := [path.name.split("_")[0] for path in logs.glob("*_submitted.pkl")]):
            assert client.poll() is None
            time.sleep(0.2)
        return jobs[0], logs, run

    yield submit
    for client in clients:
        client.kill()
        client.wait()


def wait_for_update(log: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not log.exists() or '"num_updates"' not in log.read_text():
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.1)


def check_nothing_was_lost(log: str, run: Path, expected) -> None:
    """The weights are those of a run that nobody stopped, and each update was made once."""
    expected_run, expected_log = expected
    name = "checkpoint_last.pt"
    states = [torch.load(folder / name, weights_only=True) for folder in (run, expected_run)]
    assert differences(*states) == []
    found = logged(log)
    assert [line["num_updates"] for line in found] == list(range(1, NUM_UPDATES + 1))
    assert [line["loss"] for line in found] == [line["loss"] for line in expected_log]


def test_a_preempted_job_goes_on_where_it_was(cluster, script, expected):
    job, log, run = script()
    wait_for_update(log)
    cluster.submit(
        "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"
    )
    assert cluster.wait(job, *ENDED)["JobState"] == "COMPLETED", log.read_text()[-3000:]
    assert cluster.job(job)["Restarts"] == "1"
    text = log.read_text()
    assert len(re.findall(r"stopped at update \d+, saved in", text)) == 1
    assert f"job {job} is to be started again" in text
    check_nothing_was_lost(text, run, expected)


def test_a_signal_before_the_end_of_its_time_does_the_same(cluster, script, expected):
    job, log, run = script()
    wait_for_update(log)
    cluster.run("scancel", "--signal=USR1", job)  # as Slurm sends it with --signal
    assert cluster.wait(job, *ENDED)["JobState"] == "COMPLETED", log.read_text()[-3000:]
    assert cluster.job(job)["Restarts"] == "1"
    check_nothing_was_lost(log.read_text(), run, expected)


def test_a_cancelled_job_stays_cancelled(cluster, script):
    job, log, run = script("optimization.max_update=100000")
    wait_for_update(log)
    cluster.run("scancel", job)
    cluster.wait(job, *ENDED)
    deadline = time.monotonic() + 30
    while "is not started again: it is" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
    assert (run / "checkpoint_last.pt").exists()
    time.sleep(3)
    found = cluster.job(job)
    assert (found["JobState"], found["Restarts"]) == ("CANCELLED", "0")


def test_a_job_of_two_nodes_without_srun_is_refused(cluster, settings, tmp_path):
    command = " ".join(f"'{word}'" for word in train_command("pretrain_tiny", settings))
    options = (*TWO_NODES, f"--chdir={REPOSITORY}", f"--output={tmp_path / 'log'}")
    job = cluster.submit(*options, f"--wrap={command}")
    assert cluster.wait(job, *ENDED)["JobState"] == "FAILED"
    assert (
        "error: SLURM_JOB_NUM_NODES: found a job of 2 nodes and a process that srun did not start"
    ) in (tmp_path / "log").read_text()


def test_hydras_launcher_goes_on_where_it_was(cluster, launcher, expected):
    job, logs, run = launcher()
    log = logs / f"{job}_0_log.out"
    wait_for_update(log)
    cluster.run("scancel", "--signal=USR2", job)  # submitit's signal
    assert cluster.wait(job, *ENDED)["JobState"] == "COMPLETED", log.read_text()[-3000:]
    assert cluster.job(job)["Restarts"] == "1"
    check_nothing_was_lost(log.read_text(), run, expected)


def test_a_failed_job_of_hydras_launcher_is_failed(cluster, launcher):
    job, logs, _ = launcher("+model.no_such_setting=1")
    assert cluster.wait(job, *ENDED)["JobState"] == "FAILED"
    for worker in (0, 1):
        text = (logs / f"{job}_{worker}_log.err").read_text()
        assert "error: model.no_such_setting: found an unknown setting" in text


def test_an_array_of_extractions_equals_one(cluster, tmp_path):
    write_clips(tmp_path / "audio", 40)
    checkpoint = str(GOLDEN / "official_pretrain.pt")
    script = str(REPOSITORY / "examples" / "extract_array.sbatch")
    options = ("--gpus=0", "--cpus-per-task=1", f"--output={tmp_path}/%a.log")
    arguments = (str(tmp_path / "audio"), checkpoint, str(tmp_path / "parts"))
    job = cluster.submit(*options, script, *arguments)
    for task in range(1, 5):
        log = tmp_path / f"{task}.log"
        found = cluster.wait(f"{job}_{task}", *ENDED)
        assert found["JobState"] == "COMPLETED", log.read_text()
    command = ["eat", "extract", arguments[0], "--checkpoint", checkpoint, "--out"]
    cluster.run(*command, str(tmp_path / "whole"))
    whole = {path.name: np.load(path) for path in (tmp_path / "whole").glob("*.npy")}
    parts = {path.name: np.load(path) for path in (tmp_path / "parts").glob("*.npy")}
    assert len(whole) == 40 and set(parts) == set(whole)
    for name, features in whole.items():
        np.testing.assert_allclose(parts[name], features, rtol=0, atol=1e-5)
