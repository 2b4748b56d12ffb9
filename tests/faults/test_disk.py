"""Disks that are full, and checkpoints that must not be trusted."""

import os
import re
import shutil
import subprocess

import pytest
import torch
from faults import training
from faults.training import LimitFileSize, differences
from helpers import MINIATURE

pytestmark = pytest.mark.slow

SETTINGS = [*MINIATURE, "checkpoint.save_interval_updates=2", "optimization.max_update=6"]


@pytest.fixture
def run(manifests, tmp_path):
    """`run(save_dir, *overrides)`"""

    def run(save_dir, *overrides, **options):
        settings = [f"task.data='{manifests}'", f"checkpoint.save_dir={save_dir}", *SETTINGS]
        return training.run([*settings, *overrides], tmp_path, **options)

    return run


def read(folder):
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)


def names(folder):
    return sorted(path.name for path in folder.glob("*.pt")) + sorted(
        path.name for path in folder.glob(".*")
    )


def test_a_full_disk_ends_the_run_and_loses_nothing(run, tmp_path):
    run("whole", "checkpoint.keep_interval_updates=3").check()
    whole, full = tmp_path / "whole", tmp_path / "full"
    full.mkdir()
    shutil.copy(whole / "checkpoint_1_2.pt", full / "checkpoint_last.pt")
    ended = run("full", before=LimitFileSize(1_000_000))
    assert ended.statuses == [1]
    assert "full/checkpoint_2_4.pt: could not be written: File too large. Earlier" in ended.log
    assert ended.log.count("File too large; trying again") == 2
    assert names(full) == ["checkpoint_last.pt"]
    resumed = run("full").check()
    assert "full/checkpoint_last.pt (epoch 1 @ 2 updates)" in resumed.log
    assert differences(read(full), read(whole)) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB: room for two checkpoints of 1.4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(run, small_disk):
    """Two checkpoints are kept; the third does not fit beside them."""
    ended = run(small_disk / "run", "checkpoint.keep_interval_updates=2")
    assert ended.statuses == [1]
    # The first of the names that it is to have: "best" if its loss is the lowest.
    assert re.search(r"_(best|last)\.pt: could not be written: No space left on device", ended.log)
    last = read(small_disk / "run")
    assert last["optimizer_history"][-1]["num_updates"] == 4
    assert names(small_disk / "run") == [
        *("checkpoint_1_2.pt", "checkpoint_2_4.pt", "checkpoint_best.pt", "checkpoint_last.pt")
    ]


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "key", ["checkpoint.restore_file", "checkpoint.finetune_from_model", "model.init_from", "last"]
)
def test_a_checkpoint_that_would_run_code_ends_the_run(run, tmp_path, key):
    run("run", "optimization.max_update=2").check()
    state = read(tmp_path / "run")
    folder = tmp_path / "other" if key == "last" else tmp_path
    folder.mkdir(exist_ok=True)
    path = folder / ("checkpoint_last.pt" if key == "last" else "trap.pt")
    torch.save({**state, "extra_state": {"trap": Trap(tmp_path / "executed")}}, path)
    overrides = [] if key == "last" else [f"{'+' if 'finetune' in key else ''}{key}={path}"]
    ended = run("other", *overrides)
    assert ended.statuses == [1]
    assert f"CheckpointError: {'other/' if key == 'last' else folder}" in ended.log
    assert "refused: not a file of plain tensors and values" in ended.log
    assert not (tmp_path / "executed").exists()
