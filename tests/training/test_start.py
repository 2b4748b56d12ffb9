"""What a run does at its start, and leaves behind for people: log, record, figures."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import compose
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError
from torch import nn

import eat
from eat import __version__
from eat.training import record
from eat.training.record import add_start, read_starts
from eat.training.run import read_training_log
from eat.training.start import _explain, log_to, record_start

ROOMS = (eat.tasks, eat.models, eat.criterions, eat.optim)  # imported, so that they register
# Writes to 64 MB again and again; prints how many pages the system had to provide the last time.
WRITE_AGAIN = """
import resource
import numpy as np
from eat.machine import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64_000_000, np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_log_in_the_runs_folder_has_each_update_once(resumed_run):
    log = read_training_log(resumed_run[0] / "run")
    assert log["train_inner"]["num_updates"].tolist() == [1, 2, 3, 4]
    assert log["valid"]["num_updates"].tolist() == [2, 4]
    lines = (resumed_run[0] / "run" / "train.log").read_text().splitlines()
    assert sum('"num_updates": "3"' in line for line in lines) == 1


def test_every_start_is_noted_with_all_that_is_needed_to_repeat_it(resumed_run, manifests):
    folder, command = resumed_run
    first, second = read_starts(folder / "run")
    assert second["command"] == ["fairseq-hydra-train", *command[3:]]
    assert first["command"][-1] == "optimization.max_update=2"
    assert second["folder"] == str(folder)
    assert (first["epoch"], second["epoch"]) == (1, 1)
    assert {"eat", "python", "torch", "numpy"} <= set(second["versions"])
    assert second["machine"]["cores"] == os.cpu_count() and second["machine"]["gpus"] == []
    assert second["num_workers"] == 1
    assert second["data"]["train"] == {
        "manifest": str(manifests / "train.tsv"), "clips": 12, "used": 12,
    }  # fmt: skip
    assert set(second["data"]) == {"train", "valid"}
    assert second["parameters"]["trained"] < second["parameters"]["all"]  # the teacher's are not


def test_figures_are_in_tensorboard_beside_fairseqs_curves(resumed_run):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = resumed_run[0] / "tensorboard"
    scalars = accumulators.EventAccumulator(str(folder / "train_inner")).Reload()
    assert [event.step for event in scalars.Scalars("frame_loss")] == [1, 2, 3, 4]
    figures = accumulators.EventAccumulator(str(folder / "figures")).Reload()
    steps = {tag: [e.step for e in figures.Images(tag)] for tag in figures.Tags()["images"]}
    # The clip once per start, the others at every validation.
    assert steps == {"clip": [2, 4], "attention": [2, 4], "embeddings": [2, 4]}
    assert figures.Images("embeddings")[0].encoded_image_string.startswith(b"\x89PNG")


def test_the_commit_of_a_checkout_is_noted(monkeypatch):
    checkout = Path(record.__file__).parents[3]
    assert (checkout / "user_dir" / "eat").is_dir()
    monkeypatch.setattr(Path, "exists", lambda path: path == checkout / ".git")
    monkeypatch.setattr(subprocess, "check_output", lambda command, **_: f"{command[2]} abc1\n")
    assert record._own_version() == f"{__version__} ({checkout} abc1)"


def test_an_item_of_a_list_is_named_with_the_list():
    with pytest.raises(ValidationError) as caught:
        compose("pretrain_tiny", task__weights=["a"])
    text = _explain(OmegaConf.create({"task": {"weights": ["a"]}}), caught.value)
    assert text == "task.weights[0]: Value 'a' of type 'str' could not be converted to Float"


def test_other_workers_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("eat.training.start.distributed.get_global_rank", lambda: 1)
    record_start(str(tmp_path), 1, model=None, datasets={})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_is_only_warned_of(tmp_path, caplog, handlers):
    (tmp_path / "training.json").write_text("[")
    record_start(str(tmp_path), 1, model=nn.Module(), datasets={})
    assert "the start of the training could not be noted" in caplog.text
    assert (tmp_path / "training.json").read_text() == "["


@pytest.fixture
def handlers():
    """Whatever a test adds to the root logger is taken off again."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [one for one in root.handlers if one not in before]:
        root.removeHandler(handler)
        handler.close()


def test_names_that_are_not_utf8_are_logged_with_escapes(tmp_path, capsys, handlers):
    log_to(str(tmp_path))
    logging.getLogger("eat").warning("bad clip: bird \udcff.wav")
    assert r"bad clip: bird \udcff.wav" in (tmp_path / "train.log").read_text()
    assert capsys.readouterr().err == ""


def test_a_second_run_of_one_process_has_its_own_log(tmp_path, handlers):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        log_to(str(tmp_path / name))
        logging.getLogger("eat").warning("from the %s", name)
    assert (tmp_path / "first" / "train.log").read_text().endswith("| eat | from the first\n")
    assert (tmp_path / "second" / "train.log").read_text().count("\n") == 1


def test_records_are_read_back_as_they_were_added(tmp_path):
    assert read_starts(tmp_path) == []
    add_start(tmp_path, {"command": ["a", "b c"]})
    add_start(tmp_path, {"command": []})
    assert read_starts(tmp_path) == [{"command": ["a", "b c"]}, {"command": []}]
    assert json.loads((tmp_path / "training.json").read_text()).keys() == {"starts"}
    (tmp_path / "training.json").write_text('{"starts": 1}')
    with pytest.raises(ValueError, match=r"training\.json: not a record of how a run was started"):
        read_starts(tmp_path)


def page_faults(keep):
    code = WRITE_AGAIN.format(keep=keep)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="is about glibc")
def test_freed_memory_is_used_again():
    given_back = page_faults(keep=False)
    if given_back < 1000:
        pytest.skip("this C library keeps it anyway")
    assert page_faults(keep=True) < 100
