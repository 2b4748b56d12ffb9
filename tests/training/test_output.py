"""What a training shows: few lines, and mistakes as one line."""

import logging
import os
import re
import signal

import pytest
import torch

from eat.audio import AudioError
from eat.training import output
from eat.training.output import Useful, in_one_line, is_users_mistake


def slow(*values):
    """Parameters of a run that only the slow tests make; the others show the same."""
    return pytest.param(*values, marks=pytest.mark.slow)


def test_little_stands_before_the_first_number_and_the_log_has_all(train, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # hydra's, before the plugin is imported
    run = train("optimization.max_update=2")
    assert run.returncode == 0, run.stdout
    lines = run.stdout.splitlines()
    before = next(i for i, line in enumerate(lines) if "[train_inner]" in line)
    assert 2 <= before < 10
    assert "(patch_embed): FastPatchEmbed(" not in run.stdout and "FutureWarning" not in run.stdout
    log = (tmp_path / "checkpoints" / "train.log").read_text()
    assert "(patch_embed): FastPatchEmbed(" in log and "'max_update': 2" in log


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("+task.meen=1", "task.meen: found an unknown setting; the nearest is mean"),
        slow("task.mean=x", "task.mean: Value 'x' of type 'str' could not be converted to Float"),
        slow("lr_scheduler.warmup_updates=3", "lr_scheduler.warmup_updates: found 3, expected 0"),
        slow("task.data=???", "task.data: not set, expected the folder of the manifests"),
        ("model.num_heads=5", "model.num_heads: found 5, expected a divisor of embed_dim 48"),
    ],
)
def test_a_mistake_is_one_line_without_traceback(train, setting, message):
    run = train(setting)
    assert run.returncode == 1 and "Traceback" not in run.stdout, run.stdout
    assert run.stdout.splitlines()[-1].startswith(f"error: {message}")
    assert "HYDRA_FULL_ERROR" not in run.stdout and "Error executing job" not in run.stdout


@pytest.mark.slow
def test_a_damaged_clip_is_one_line_and_the_log_has_the_traceback(train, manifests, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    text = (manifests / "train.tsv").read_text()
    (data / "train.tsv").write_text(f"{text}gone.wav\t16000\n")
    (data / "valid.tsv").write_text((manifests / "valid.tsv").read_text())
    run = train(
        "dataset.num_workers=2", "dataset.batch_size=1", "optimization.max_update=13", data=data
    )
    assert run.returncode == 1 and "Traceback" not in run.stdout, run.stdout
    assert re.match(
        r"error: \S+train\.tsv:14: no such audio file: .*gone\.wav$", run.stdout.splitlines()[-1]
    )
    assert "Traceback" in (tmp_path / "checkpoints" / "train.log").read_text()


def test_what_is_no_mistake_keeps_its_traceback():
    assert is_users_mistake(AudioError("a.wav: damaged"))
    assert is_users_mistake(FileNotFoundError("a.wav"))
    assert not is_users_mistake(KeyError("x")) and not is_users_mistake(ValueError("from here"))
    remote = AudioError(
        "Caught AudioError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n  File ...\neat.audio.AudioError: a.wav: no\n"
    )
    assert in_one_line(remote) == "a.wav: no"


@pytest.mark.parametrize(
    ("level", "name", "message", "is_shown"),
    [
        (logging.INFO, "train_inner", '{"loss": "1"}', True),
        (logging.INFO, "fairseq_cli.train", {"common": {}}, False),
        (logging.INFO, "fairseq.tasks.fairseq_task", "reuse_dataloader = True", False),
        (logging.WARNING, "fairseq.tasks.fairseq_task", "careful", True),
        (logging.DEBUG, "matplotlib.font_manager", "findfont", False),
        (logging.INFO, "fairseq.trainer", "Loaded checkpoint a.pt", True),
    ],
)
def test_what_is_shown(level, name, message, is_shown):
    record = logging.LogRecord(name, level, "", 0, message, None, None)
    assert Useful().filter(record) is is_shown


class Killed(torch.utils.data.Dataset):
    """Its first clip is read from shared memory that is not there."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGBUS)


def test_a_loading_process_that_a_full_dev_shm_kills_is_one_line(capfd):
    with pytest.raises(RuntimeError) as caught:
        next(iter(torch.utils.data.DataLoader(Killed(), num_workers=1)))
    output._show(caught.type, caught.value, caught.tb)
    assert "error: dataset.num_workers: /dev/shm has no room" in capfd.readouterr().err
