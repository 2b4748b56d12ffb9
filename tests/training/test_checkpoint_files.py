import errno
import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import GOLDEN

from eat.checkpoint import CheckpointError
from eat.training import checkpoint_files
from eat.training.checkpoint_files import (
    copy_checkpoint,
    load_checkpoint_to_cpu,
    prepare_folder,
    save_checkpoint,
)
from eat.training.replacements import around
from eat.training.saving import keeping_best

STATE = {
    "cfg": {"model": {"_name": "eat"}},
    "model": {"weight": torch.arange(3.0)},
    "optimizer_history": [{"num_updates": 2, "optimizer_name": "EatAdamW"}],
    "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1}, "val_loss": None},
}
SAVE_TO_A_FULL_DISK = """
import resource, sys, torch
from eat.training import checkpoint_files
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # fails as a full disk does
checkpoint_files.RETRY_SECONDS = (0.0,)
checkpoint_files.save_checkpoint({"weight": torch.zeros(50_000)}, sys.argv[1])
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "checkpoint_last.pt")


def test_what_is_saved_is_loaded(tmp_path, path):
    save_checkpoint(STATE, path)
    state = load_checkpoint_to_cpu(path, {"_name": "other"})
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])
    assert state["cfg"].model._name == "other"
    assert os.listdir(tmp_path) == ["checkpoint_last.pt"]


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, path):
    save_checkpoint(STATE, path)
    command = [sys.executable, "-c", SAVE_TO_A_FULL_DISK, path]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 1
    assert f"OSError: [Errno 27] {path}: could not be written: File too large" in run.stdout
    assert os.listdir(tmp_path) == ["checkpoint_last.pt"]
    assert torch.equal(load_checkpoint_to_cpu(path)["model"]["weight"], STATE["model"]["weight"])


def test_a_write_that_fails_once_is_tried_again_from_the_start(path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint_files, "RETRY_SECONDS", (0.0,))
    save, attempts = torch.save, []

    def save_with_a_failure(state, file):
        attempts.append(file.write(b"half" if not attempts else b""))
        if len(attempts) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        save(state, file)

    monkeypatch.setattr(torch, "save", save_with_a_failure)
    save_checkpoint(STATE, path)
    assert attempts == [4, 0]
    assert f"{path}: Input/output error; trying again" in caplog.text
    assert torch.equal(load_checkpoint_to_cpu(path)["model"]["weight"], STATE["model"]["weight"])


def test_what_cannot_be_pickled_is_no_fault_of_the_disk(tmp_path, path):
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        save_checkpoint({"model": lambda: None}, path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_further_name_takes_the_place_of_an_older_checkpoint(tmp_path, path, monkeypatch, links):
    if not links:

        def refuse(*args):
            raise OSError(errno.EPERM, "this file system has no hard links")

        monkeypatch.setattr(os, "link", refuse)
    save_checkpoint({**STATE, "model": {}}, path)
    first = str(tmp_path / "checkpoint_1_2.pt")
    save_checkpoint(STATE, first)
    assert copy_checkpoint(first, path, overwrite=True)
    assert copy_checkpoint(first, path, overwrite=True)  # the same file already
    os.remove(first)
    assert torch.equal(load_checkpoint_to_cpu(path)["model"]["weight"], STATE["model"]["weight"])
    assert os.listdir(tmp_path) == ["checkpoint_last.pt"]


def test_a_further_name_that_cannot_be_written(tmp_path, path):
    save_checkpoint(STATE, path)
    message = f"{tmp_path}/gone/best.pt: could not be written"
    with pytest.raises(OSError, match=message):
        copy_checkpoint(path, str(tmp_path / "gone" / "best.pt"))


def test_the_folder_is_made_and_cleaned_of_unfinished_checkpoints(tmp_path):
    folder = tmp_path / "new" / "checkpoints"
    prepare_folder(str(folder))
    assert [path.name for path in folder.iterdir()] == ["run.lock"]
    for name in (".checkpoint_last.pt.123.tmp", ".notes.txt.123.tmp", "checkpoint_last.pt"):
        (folder / name).touch()
    prepare_folder(str(folder))
    left = sorted(p.name for p in folder.iterdir())
    assert left == [".notes.txt.123.tmp", "checkpoint_last.pt", "run.lock"]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"checkpoint.save_dir: cannot write to .*file/checkpoints"):
        prepare_folder(str(tmp_path / "file" / "checkpoints"))


LOCK_AND_WAIT = """
import sys
from eat.files import lock_file
with lock_file(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_of_another_run_is_refused_as_long_as_that_run_lives(tmp_path):
    (tmp_path / ".checkpoint_last.pt.123.tmp").touch()
    command = [sys.executable, "-c", LOCK_AND_WAIT, str(tmp_path / "run.lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as other:
        other.stdout.readline()
        words = (
            f"checkpoint.save_dir: found {tmp_path} in use by process {other.pid} on .*, expected"
        )
        with pytest.raises(OSError, match=words):
            prepare_folder(str(tmp_path))
        assert (tmp_path / ".checkpoint_last.pt.123.tmp").exists()
        other.kill()
        other.wait()
    prepare_folder(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def write_bare_pickle(state, path):
    with open(path, "wb") as file:
        pickle.dump(state, file)


@pytest.mark.parametrize("write", [torch.save, write_bare_pickle])
@pytest.mark.parametrize("force", ["0", "1"])
def test_a_checkpoint_that_would_run_code_does_not(tmp_path, path, write, force, monkeypatch):
    # What people set since torch 2.6 to get other projects to run.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    write({**STATE, "extra_state": Trap(tmp_path / "executed")}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint_last.pt: (refused|damaged)"):
        load_checkpoint_to_cpu(path)
    assert os.listdir(tmp_path) == ["checkpoint_last.pt"]


def test_a_truncated_checkpoint_is_named(path):
    save_checkpoint(STATE, path)
    size = os.path.getsize(path)
    for length in (size - 1, size // 2, 10, 0):
        os.truncate(path, length)
        with pytest.raises(CheckpointError, match=r"checkpoint_last.pt: (damaged|refused)"):
            load_checkpoint_to_cpu(path)


def test_a_file_without_training_state_is_named(path):
    save_checkpoint({"weight": torch.zeros(1)}, path)
    message = r"checkpoint_last.pt: found no training state \(top-level keys: weight\), expected"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint_to_cpu(path)


def test_released_checkpoints_can_be_restored_by_fairseq():
    state = load_checkpoint_to_cpu(str(GOLDEN / "official_pretrain.pt"))
    assert state["cfg"].model._name == "data2vec_multi"
    assert state["optimizer_history"][-1]["num_updates"] == 20


def test_a_score_of_nan_leaves_the_best_checkpoint(tmp_path, monkeypatch):
    from fairseq import checkpoint_utils
    from fairseq.dataclass.configs import CheckpointConfig

    original = inspect.unwrap(checkpoint_utils.save_checkpoint)
    monkeypatch.setattr(checkpoint_utils, "save_checkpoint", around(original, keeping_best))
    cfg = CheckpointConfig(save_dir=str(tmp_path), no_epoch_checkpoints=True)
    cfg.maximize_best_checkpoint_metric = True
    trainer = SimpleNamespace(
        data_parallel_rank=0,
        should_save_checkpoint_on_current_rank=True,
        always_call_state_dict_during_save_checkpoint=False,
        checkpoint_suffix="",
        task=SimpleNamespace(),
        consolidate_optimizer=lambda: None,
        get_num_updates=lambda: 1,
        save_checkpoint=lambda path, extra: Path(path).write_text(str(extra["val_loss"])),
    )
    place = SimpleNamespace(
        epoch=1, next_epoch_idx=1, end_of_epoch=lambda: False, state_dict=lambda: {}
    )
    best = []
    for score in (float("nan"), 0.5, float("nan"), 0.4, 0.6):
        checkpoint_utils.save_checkpoint(cfg, trainer, place, score)
        file = tmp_path / "checkpoint_best.pt"
        best.append(file.read_text() if file.exists() else None)
    assert best == [None, "0.5", "0.5", "0.5", "0.6"]
