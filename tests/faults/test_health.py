"""Updates that cannot be made, and runs that have collapsed."""

import re

import pytest
import torch
from faults import training
from faults.training import SpoilLoss
from helpers import MINIATURE, logged

pytestmark = pytest.mark.slow

SETTINGS = [*MINIATURE, "checkpoint.save_dir=checkpoints", "optimization.max_update=6"]


@pytest.fixture
def run(manifests, tmp_path):
    def run(*overrides, **options):
        return training.run(
            [f"task.data='{manifests}'", *SETTINGS, *overrides], tmp_path, **options
        )

    return run


@pytest.mark.parametrize("settings", [[], ["common.bf16=true"], ["optimization.update_freq=[2]"]])
def test_an_update_without_finite_gradients_is_skipped(run, tmp_path, settings):
    log = run(*settings, before=SpoilLoss({3, 5})).check().log
    skipped = re.findall(r"skipped update (\d): gradients not finite with the batch of (.*)", log)
    assert [update for update, _ in skipped] == ["3", "5"]
    num_clips = 8 if "optimization.update_freq=[2]" in settings else 4
    for _, clips in skipped:
        assert len(re.findall(r"clip \d+\.wav \(\S*[^()]*train\.tsv:\d+\)", clips)) == num_clips
    records = logged(log)
    assert [record["num_updates"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["skipped_updates"] for record in records] == [0, 0, 1, 1, 2, 2]
    assert [record["gnorm"] == 0 for record in records] == [False, False, True, False, True, False]
    assert [record["loss"] > 0 for record in records] == [True, True, False, True, False, True]
    model = torch.load(tmp_path / "checkpoints" / "checkpoint_last.pt", weights_only=True)["model"]
    assert all(value.isfinite().all() for value in model.values())


def test_a_skipped_update_changes_nothing(run, tmp_path):
    models = {}
    for updates in (1, 2):
        run(f"optimization.max_update={updates}", before=SpoilLoss({2})).check()
        path = tmp_path / "checkpoints" / "checkpoint_last.pt"
        models[updates] = torch.load(path, weights_only=True)["model"]
    for key, value in models[1].items():
        assert torch.equal(models[2][key], value), key


@pytest.mark.parametrize("num_workers", [1, 2])
def test_several_in_a_row_end_the_run(run, num_workers, tmp_path):
    settings = ["task.max_skipped_updates=3", "dataset.batch_size=2"]
    ended = run(*settings, before=SpoilLoss({2, 3, 4}), num_workers=num_workers)
    assert ended.statuses == [1] * num_workers
    named = []
    for log in ended.logs:
        message = re.search(
            r"TrainingHealthError: task.max_skipped_updates: the gradients were not finite in 3"
            r" updates in a row, until update 4, last with the batch of (.*). Listen to these",
            log,
        )
        named += re.findall(r"clip \d+\.wav", message[1])
    assert len(set(named)) == 2 * num_workers  # each worker names its own
    assert not (tmp_path / "checkpoints" / "crash.pt").exists()


@pytest.mark.parametrize("key", ["target_var", "prediction_var"])
def test_a_collapsed_run_is_ended(run, key):
    ended = run(f"task.min_{key}=1.5", "task.collapse_after_updates=4")
    assert ended.statuses == [1]
    assert f"TrainingHealthError: task.min_{key}: found {key} 0." in ended.log
    assert [record["num_updates"] for record in logged(ended.log)] == [1, 2, 3]
