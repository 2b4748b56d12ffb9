"""Runs of several processes: they agree, they end when one of them does, they can be resumed."""

import os
import re
import time

import pytest
import torch
from faults import training
from faults.training import differences, print_teacher, start_workers, wait_for
from helpers import MINIATURE, MINIATURE_CLASSIFIER, logged, write_splits

pytestmark = pytest.mark.slow

SETTINGS = [
    *MINIATURE,
    "checkpoint.save_dir=checkpoints",
    "lr_scheduler.warmup_updates=2",
    "model.mask_noise_std=0.0",  # the noise of two processes is not that of one
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 clips."""
    folder = tmp_path_factory.mktemp("data")
    return write_splits(folder, 24, 4)


@pytest.fixture
def run(data, tmp_path):
    """`run(name, num_workers, *overrides)` runs to the end in the folder of that name."""

    def run(name, num_workers, *overrides, **options):
        settings = prepare(name, *overrides)
        training.run(*settings, num_workers, **options).check()
        return tmp_path / name

    def prepare(name, *overrides):
        (tmp_path / name).mkdir(exist_ok=True)
        return [f"task.data={data}", *SETTINGS, *overrides], tmp_path / name

    run.prepare = prepare
    return run


def log(folder, worker=0):
    return (folder / f"log.{worker}.txt").read_text()


def read(folder, name="checkpoint_last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def assert_close(found, expected):
    """The same updates up to the order in which floating point numbers are added."""
    for one, other in zip(logged(log(found)), logged(log(expected)), strict=True):
        assert one["bsz"] == other["bsz"]
        for key in ("loss", "frame_loss", "utterance_loss", "gnorm", "mask_ratio", "ema_decay"):
            assert one[key] == pytest.approx(other[key], rel=1e-3), key
    for key, value in read(expected)["model"].items():
        assert torch.allclose(read(found)["model"][key], value, atol=1e-5), key


def test_accumulated_batches_equal_a_larger_one(run):
    """All 24 clips are one update, so that both runs see the same ones in each."""
    large = run("large", 1, "dataset.batch_size=24")
    accumulated = run("small", 1, "dataset.batch_size=6", "optimization.update_freq=[4]")
    assert_close(accumulated, large)


def test_accumulated_batches_of_two_workers_equal_a_larger_one(run):
    large = run("large", 1, "dataset.batch_size=24")
    assert_close(run("small", 2, "dataset.batch_size=6", "optimization.update_freq=[2]"), large)


def teachers_in(text):
    """(update, digest of the weights) as `print_teacher` prints them."""
    return re.findall(r"^teacher (\d+) (\w+)$", text, re.MULTILINE)


def test_teachers_are_identical_and_resuming_is_exact(run):
    """2 updates and 3 more, with the end of an epoch between, equal 5, to the bit."""
    overrides = [
        *("optimization.max_update=5", "checkpoint.save_interval_updates=2"),
        "checkpoint.keep_interval_updates=2",
    ]
    whole = run("whole", 2, *overrides, before=print_teacher)
    start_from = whole.parent / "resumed" / "checkpoints" / "checkpoint_last.pt"
    start_from.parent.mkdir(parents=True)
    os.rename(whole / "checkpoints" / "checkpoint_1_2.pt", start_from)
    resumed = run("resumed", 2, *overrides, before=print_teacher)
    assert differences(read(resumed), read(whole)) == []
    teachers = [teachers_in(log(whole, worker)) for worker in (0, 1)]
    assert [int(update) for update, _ in teachers[0]] == [1, 2, 3, 4, 5]
    assert len(set(teachers[0])) == 5
    assert teachers[0] == teachers[1]
    assert [teachers_in(log(resumed, worker)) for worker in (0, 1)] == [teachers[0][2:]] * 2


def test_a_killed_worker_ends_the_run_which_another_number_resumes(run, tmp_path):
    overrides = ["optimization.max_update=2000", "checkpoint.save_interval_updates=2"]
    workers = start_workers(2, *run.prepare("run", *overrides))
    last = tmp_path / "run" / "checkpoints" / "checkpoint_last.pt"
    assert wait_for(last.exists, workers[0]), log(tmp_path / "run")[-3000:]
    workers[1].kill()
    killed = time.monotonic()
    workers[0].join(60)
    assert workers[0].exitcode == 1, log(tmp_path / "run")[-3000:]
    assert time.monotonic() - killed < 30
    assert re.search("closed by peer|reset by peer", log(tmp_path / "run"))
    updates = read(tmp_path / "run")["optimizer_history"][-1]["num_updates"]
    assert list(last.parent.glob(".*")) == []
    for num_workers in (1, 3):
        run("run", num_workers, f"optimization.max_update={updates + num_workers}")
        assert f"@ {updates} updates)" in log(tmp_path / "run")
        found = read(tmp_path / "run")["optimizer_history"][-1]["num_updates"]
        assert found == updates + num_workers
        updates = found


@pytest.mark.parametrize(
    "config, settings",
    [
        ("pretrain_tiny", []),
        ("pretrain_tiny", ["model.checkpoint_activations=true", "optimization.update_freq=[2]"]),
        ("finetune_tiny", ["model.drop_path=0.1", "common.bf16=true"]),
        ("finetune_tiny", ["model.freeze_encoder=true"]),
    ],
)
def test_gradients_are_averaged_as_without_overlap(request, data, tmp_path, config, settings):
    """torch's DistributedDataParallel gives, to the bit, what fairseq's legacy_ddp gives."""
    miniature, data = MINIATURE, data
    if config.startswith("finetune"):
        miniature, data = MINIATURE_CLASSIFIER, request.getfixturevalue("labelled")
    common = [*miniature, *SETTINGS[len(MINIATURE) : -1], f"task.data='{data}'", *settings]
    states = []
    for backend in ("pytorch_ddp", "legacy_ddp"):
        (tmp_path / backend).mkdir()
        overrides = [*common, f"distributed_training.ddp_backend={backend}"]
        training.run(overrides, tmp_path / backend, 2, config=config).check()
        states.append(read(tmp_path / backend))
    assert differences(*states) == []
    assert states[0]["optimizer_history"][-1]["num_updates"] == 3
