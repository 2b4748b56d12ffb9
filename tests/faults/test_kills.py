"""Runs that are killed anywhere and started again end as one that was never interrupted."""

import random
import shutil
import time

import pytest
import torch
from faults.training import KillAtStep, differences, start, wait_for
from helpers import (
    MINIATURE,
    MINIATURE_CLASSIFIER,
    write_labelled_split,
    write_splits,
)

import eat

pytestmark = pytest.mark.slow

SETTINGS = [
    "checkpoint.save_dir=checkpoints",
    "checkpoint.save_interval_updates=3",
    "checkpoint.keep_interval_updates=2",
    "dataset.data_buffer_size=2",  # batches that were read ahead are read again
    "lr_scheduler.warmup_updates=10",
    "common.log_interval=10",
]
PRETRAINING = [*MINIATURE, *SETTINGS]
# With everything that is random in it.
FINETUNING = [
    *MINIATURE_CLASSIFIER,
    *SETTINGS,
    *("task.roll=true", "task.noise=true", "task.mixup_alpha=0.8", "task.num_samples=40"),
    *("task.spec_augment_ratio=0.2", "model.drop_path=0.1", "task.crop=random"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 clips, 15 updates an epoch."""
    folder = tmp_path_factory.mktemp("data")
    return write_splits(folder, 60, 4)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """60 clips of which 40 are drawn for an epoch of 5 updates."""
    folder = tmp_path_factory.mktemp("labelled")
    classes = [[name] for name in ("low", "middle", "high")]
    write_labelled_split(folder, "train", classes * 20)
    write_labelled_split(folder, "valid", classes, seed=1)
    return folder


@pytest.fixture
def run(data, tmp_path):
    """`run(name, *overrides, **options)` starts a pre-training in the folder of that name."""
    return starter(tmp_path, [f"task.data={data}", *PRETRAINING])


@pytest.fixture
def finetune(labelled, tmp_path):
    """The same for fine-tuning."""
    return starter(tmp_path, [f"task.data={labelled}", *FINETUNING], config="finetune_tiny")


def starter(parent, settings, **common):
    def run(name, *overrides, **options):
        (parent / name).mkdir(exist_ok=True)
        return start([*settings, *overrides], parent / name, **common, **options)

    return run


def read(folder, name="checkpoint_last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def assert_complete(folder):
    """Every file with a checkpoint's name is one."""
    paths = list((folder / "checkpoints").glob("*.pt"))
    for path in paths:
        assert read(folder, path.name)["last_optimizer_state"]["state"], path
    return len(paths)


def finish(process, folder):
    process.join()
    assert process.exitcode == 0, (folder / "log.txt").read_text()[-3000:]


def assert_same_end(found, expected):
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        assert differences(read(found, name), read(expected, name)) == []
    names = {path.name for path in (found / "checkpoints").iterdir()}
    # An old checkpoint may be left that a kill kept fairseq from removing.
    assert names >= {path.name for path in (expected / "checkpoints").iterdir()}
    assert not any(name.endswith(".tmp") for name in names)


def test_pretraining_at_22_random_moments(run, tmp_path):
    check_kills(run, tmp_path, num_kills=22)


def test_finetuning_at_12_random_moments(finetune, tmp_path):
    check_kills(finetune, tmp_path, num_kills=12)


def check_kills(run, tmp_path, num_kills):
    """Every other kill comes soon after a checkpoint, so that the run gets ahead."""
    max_update = "optimization.max_update=600"
    finish(run("whole", max_update), tmp_path / "whole")
    generator = random.Random(1)
    last = tmp_path / "killed" / "checkpoints" / "checkpoint_last.pt"
    for kill in range(num_kills):
        process = run("killed", max_update)
        if kill % 2 == 0:
            before = last.stat().st_ino if last.exists() else None
            wait_for(lambda: last.exists() and last.stat().st_ino != before, process)  # noqa: B023
            time.sleep(generator.uniform(0, 0.3))
        else:
            time.sleep(generator.uniform(0, 4))
        assert process.is_alive(), "the run ended before all kills: raise max_update"
        process.kill()
        process.join()
        if last.exists():
            assert_complete(tmp_path / "killed")
    finish(run("killed", max_update), tmp_path / "killed")
    assert_same_end(tmp_path / "killed", tmp_path / "whole")
    assert "Loaded checkpoint" in (tmp_path / "killed" / "log.txt").read_text()


def test_at_every_step_of_saving(run, tmp_path):
    """Of a first save, when there is nothing yet, and of a later one that replaces and removes."""
    whole = run("whole", "optimization.max_update=30")
    num_kills, step = 0, 1
    while True:
        process = run("killed", "optimization.max_update=30", before=KillAtStep(step))
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -9, (tmp_path / "killed" / "log.txt").read_text()[-3000:]
        assert_complete(tmp_path / "killed")
        num_kills += 1
        step += 1
    finish(whole, tmp_path / "whole")
    assert num_kills >= 20
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


def test_a_finished_run_stays_as_it_is(run, tmp_path):
    few = ("optimization.max_update=6", "lr_scheduler.warmup_updates=2")
    finish(run("whole", *few), tmp_path / "whole")
    before = read(tmp_path / "whole")
    finish(run("whole", *few), tmp_path / "whole")
    assert differences(read(tmp_path / "whole"), before) == []
    assert "nothing to do: optimization.max_update=6 is reached" in (
        (tmp_path / "whole" / "log.txt").read_text()
    )


BF16 = (
    *("common.bf16=true", "optimization.max_update=6", "lr_scheduler.warmup_updates=2"),
    *("checkpoint.save_interval_updates=3", "dataset.validate_interval_updates=3"),
)


@pytest.mark.parametrize("kind", ["run", "finetune"])
def test_resuming_in_bf16_is_exact(request, tmp_path, kind):
    """fairseq saves the rounded weights, from which a run goes on a little differently."""
    run = request.getfixturevalue(kind)
    finish(run("whole", *BF16), tmp_path / "whole")
    (first,) = (tmp_path / "whole" / "checkpoints").glob("checkpoint_*_3.pt")
    start_from = tmp_path / "resumed" / "checkpoints" / "checkpoint_last.pt"
    start_from.parent.mkdir(parents=True)
    shutil.copy(first, start_from)
    finish(run("resumed", *BF16), tmp_path / "resumed")
    whole = read(tmp_path / "whole")
    assert differences(read(tmp_path / "resumed"), whole) == []
    weights = eat.load_encoder(
        tmp_path / "whole" / "checkpoints" / "checkpoint_last.pt"
    ).state_dict()
    moved = [v for k, v in weights.items() if k.endswith("qkv.weight")]
    assert all((value.bfloat16() != value).any() for value in moved)
    # As large as one with rounded weights: fairseq saves these as float32, too.
    assert {value.dtype for value in whole["model"].values()} == {torch.float32}


def test_an_older_checkpoint_in_bf16_is_resumed(run, tmp_path):
    """With the rounded weights that it holds."""
    finish(run("run", *BF16), tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "checkpoint_last.pt"
    state = read(tmp_path / "run")
    for name, value in state["model"].items():
        if not name.startswith("teacher."):
            state["model"][name] = value.bfloat16().float()
    torch.save(state, last)
    finish(run("run", *BF16, "optimization.max_update=9", log="second.txt"), tmp_path / "run")
    text = (tmp_path / "run" / "second.txt").read_text()
    assert "@ 6 updates)" in text


def test_a_second_run_in_one_folder_is_refused_until_the_first_is_killed(run, tmp_path):
    first = run("run", "optimization.max_update=5000", "dataset.num_workers=1")
    last = tmp_path / "run" / "checkpoints" / "checkpoint_last.pt"
    assert wait_for(last.exists, first)
    log = (tmp_path / "run" / "log.txt").stat().st_size
    second = run("run", "optimization.max_update=5000", log="second.txt")
    second.join()
    assert second.exitcode == 1
    words = f"checkpoint.save_dir: found checkpoints in use by process {first.pid} on "
    assert words in (tmp_path / "run" / "second.txt").read_text().splitlines()[-1]
    assert wait_for(lambda: (tmp_path / "run" / "log.txt").stat().st_size > log, first)
    first.kill()
    few = ("optimization.max_update=6", "lr_scheduler.warmup_updates=2", "checkpoint.no_save=true")
    finish(run("run", *few, log="third.txt"), tmp_path / "run")
