"""Fixtures shared by all tests: recorded reference outputs, tiny audio, real training runs."""

import os
import subprocess

import numpy as np
import pytest
import torch
from helpers import (
    GOLDEN,
    MINIATURE,
    MINIATURE_CLASSIFIER,
    TONES_HZ,
    train_command,
    write_labelled_split,
    write_splits,
    write_timed_split,
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Spell out names of files that are no UTF-8: pytest-xdist cannot hand them to its parent."""
    report = yield
    readable = [text.encode(errors="backslashreplace").decode() for _, text in report.sections]
    names = [name for name, _ in report.sections]
    report.sections = [*zip(names, readable, strict=True)]
    return report


@pytest.fixture(scope="session")
def golden():
    """`golden(name)` -> a recorded array of the pre-training step, as a tensor."""
    recorded = np.load(GOLDEN / "golden_pretrain.npz")
    return lambda name: torch.from_numpy(recorded[name])


@pytest.fixture(scope="session")
def official_pretrain():
    return str(GOLDEN / "official_pretrain.pt")


@pytest.fixture(scope="session")
def official_finetune():
    return str(GOLDEN / "official_finetune.pt")


@pytest.fixture(scope="session")
def manifests(tmp_path_factory):
    """A folder with train.tsv (12 clips) and valid.tsv (4 clips)."""
    folder = tmp_path_factory.mktemp("manifests with spaces")
    return write_splits(folder, 12, 4)


@pytest.fixture(scope="session")
def resumed_run(manifests, tmp_path_factory):
    """A pre-training of 2 updates that was continued to 4: (its folder, the last command).

    In the folder: `run`, the checkpoint.save_dir, and `tensorboard`.
    """
    folder = tmp_path_factory.mktemp("resumed")
    overrides = [
        *MINIATURE,
        f"task.data='{manifests}'",
        "checkpoint.save_dir=run",
        "common.tensorboard_logdir=tensorboard",
        "dataset.validate_interval_updates=2",
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    for num_updates in (2, 4):
        command = train_command(
            "pretrain_tiny", [*overrides, f"optimization.max_update={num_updates}"]
        )
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return folder, command


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A folder with train (24 clips) and valid (9 clips), each with one of three labels."""
    folder = tmp_path_factory.mktemp("labelled clips")
    tones = list(TONES_HZ)
    write_labelled_split(folder, "train", [[tones[i % 3]] for i in range(24)], seed=1)
    write_labelled_split(folder, "valid", [[tones[i % 3]] for i in range(9)], seed=2)
    return folder


@pytest.fixture(scope="session")
def multi_labelled(tmp_path_factory):
    """The same with one or two labels; no clip of valid (9 clips) has the high tone."""
    folder = tmp_path_factory.mktemp("multi-labelled clips")
    both = [["low"], ["low", "middle"], ["middle"]]
    write_labelled_split(folder, "train", [*both, ["high", "low"]] * 6, seed=1)
    write_labelled_split(folder, "valid", both * 3, seed=2)
    return folder


@pytest.fixture(scope="session")
def timed(tmp_path_factory):
    """A folder with train (24 clips) and valid (9 clips) whose labels are in time."""
    folder = tmp_path_factory.mktemp("clips with events")
    write_timed_split(folder, "train", 24, seed=1)
    write_timed_split(folder, "valid", 9, seed=2)
    return folder


@pytest.fixture
def train(manifests, tmp_path):
    """`train(*overrides)` runs fairseq-hydra-train on a miniature model in a fresh process.

    Returns the finished process; its output is in `.stdout`, its checkpoints in `tmp_path`.
    """

    def run(*overrides: str, config: str = "pretrain_tiny", data=manifests, **kwargs):
        command = train_command(
            config,
            [
                f"task.data='{data}'",
                f"checkpoint.save_dir='{tmp_path / 'checkpoints'}'",
                *(MINIATURE_CLASSIFIER if config.startswith("finetune") else MINIATURE),
                *overrides,
            ],
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
        options = {"cwd": tmp_path, "env": environment, "timeout": 280, **kwargs}
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )

    return run
