"""Fixtures shared by all tests: recorded reference outputs, tiny audio, real training runs."""

import os
import subprocess

import numpy as np
import pytest
import torch
from helpers import GOLDEN, MINIATURE, train_command, write_clips, write_tsv


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
    entries = write_clips(folder / "audio", 16)
    write_tsv(folder / "train.tsv", folder / "audio", entries[:12])
    write_tsv(folder / "valid.tsv", folder / "audio", entries[12:])
    return folder


@pytest.fixture
def train(manifests, tmp_path):
    """`train(*overrides)` runs fairseq-hydra-train on the miniature model in a fresh process.

    Returns the finished process; its output is in `.stdout`, its checkpoints in `tmp_path`.
    """

    def run(*overrides: str, config: str = "pretrain_tiny", miniature: bool = True, **kwargs):
        command = train_command(
            config,
            [
                f"task.data='{manifests}'",
                f"checkpoint.save_dir='{tmp_path / 'checkpoints'}'",
                *(MINIATURE if miniature else []),
                *overrides,
            ],
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
        options = {"cwd": tmp_path, "env": environment, "timeout": 280, **kwargs}
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )

    return run
