"""Training on a collection of which a part is damaged, in every way."""

import re

import pytest
import torch
from faults import training
from faults.damage import NAMED, WAYS, write_collection
from helpers import MINIATURE, logged, write_clips, write_tsv

pytestmark = pytest.mark.slow

SETTINGS = [*MINIATURE, "checkpoint.save_dir=checkpoints", "task.min_samples=0"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """48 clips for training, 12 of them damaged; the folder and the damaged files."""
    folder = tmp_path_factory.mktemp("collection")
    entries, damaged = write_collection(folder / "audio", 48, damaged_ratio=12 / 48)
    assert sorted(damaged.values()) == sorted(WAYS)
    write_tsv(folder / "train.tsv", folder / "audio", entries)
    write_tsv(folder / "valid.tsv", folder / "valid", write_clips(folder / "valid", 4))
    return folder, {str(folder / "audio" / name) for name in damaged}


@pytest.fixture
def run(collection, tmp_path):
    def run(*overrides, **options):
        overrides = [f"task.data={collection[0]}", *SETTINGS, *overrides]
        return training.run(overrides, tmp_path, **options)

    return run


SKIP = ["task.bad_audio=skip", "task.max_bad_ratio=0.25", "optimization.max_update=24"]


def test_every_bad_file_is_named_once_in_two_epochs(run, collection, tmp_path):
    log = run(*SKIP, "dataset.num_workers=2").check().log
    assert sorted(NAMED.findall(log)) == sorted(collection[1])
    listed = (tmp_path / "checkpoints" / "bad_audio.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == sorted(collection[1])
    counts = [record["bad_clips"] for record in logged(log)]
    assert counts[11] == counts[23] == 12  # at the end of each epoch
    assert counts[12] < 12


def test_replacements_do_not_depend_on_the_loader(run, tmp_path):
    weights, logs = [], []
    for settings in (["dataset.num_workers=1", "dataset.data_buffer_size=2"], []):
        logs.append(run(*SKIP, *settings).check().log)
        state = torch.load(tmp_path / "checkpoints" / "checkpoint_last.pt", weights_only=True)
        weights.append(state["model"])
        (tmp_path / "checkpoints" / "checkpoint_last.pt").unlink()
    for key, value in weights[0].items():
        assert torch.equal(weights[1][key], value), key
    # The list of bad files is still there for the second run.
    assert [len(NAMED.findall(log)) for log in logs] == [12, 0]


def test_two_workers_name_each_once_together(run, collection):
    logs = run(*SKIP, "dataset.batch_size=2", num_workers=2).check().logs
    assert sorted(NAMED.findall("".join(logs))) == sorted(collection[1])
    assert [record["bad_clips"] for record in logged(logs[0])][11] == 12


@pytest.mark.parametrize("num_workers", [1, 2])
def test_too_many_bad_clips_end_the_run_with_a_summary(run, num_workers):
    settings = ["task.bad_audio=skip", "task.max_bad_ratio=0.1", "dataset.batch_size=2"]
    ended = run(*settings, "optimization.max_update=48", num_workers=num_workers)
    assert ended.statuses == [1] * num_workers
    message = (
        r"TooMuchBadAudio: task.max_bad_ratio: found [56] clips that cannot be read among the 48 of"
        r" epoch 1, expected at most 0.1 of them. They are listed in checkpoints/bad_audio.tsv;"
        r" `eat manifest check` writes a manifest without them"
    )
    for log in ended.logs:
        assert re.search(message, log), log[-3000:]


def test_by_default_the_first_one_ends_the_run(run, collection):
    ended = run()
    assert ended.statuses == [1]
    named = re.search(r"AudioError: \S+train.tsv:\d+: (no such audio file: )?([^:\n]+)", ended.log)
    assert named[2] in collection[1]
