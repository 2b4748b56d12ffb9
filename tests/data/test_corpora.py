"""Several corpora in one task: their clips, labels and shares of an epoch."""

import logging
import pickle
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from fairseq import tasks
from helpers import TONES_HZ, compose, write_labelled_split

import eat
from eat.data.corpora import JoinedManifest, folders_of
from eat.data.labels import write_descriptors
from eat.data.manifest import Manifest
from eat.data.sampling import draw_shares
from eat.training.bad_audio import ReplacingDataset
from eat.training.contradictions import check_settings

ROOMS = (eat.tasks, eat.models, eat.criterions, eat.optim)  # imported, so that they register


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two folders with train, of 24 and 5 clips, and valid, of 4 and 3 clips, all labelled."""
    folders = [str(tmp_path_factory.mktemp(name)) for name in ("large", "small")]
    for folder, *sizes in zip(folders, (24, 5), (4, 3), strict=True):
        for split, size in zip(("train", "valid"), sizes, strict=True):
            classes = [[[*TONES_HZ][i % 3]] for i in range(size)]
            write_labelled_split(Path(folder), split, classes, seed=size)
    return folders


def load(corpora, config="pretrain_tiny", split="train", **overrides):
    overrides = {f"task__{key}": value for key, value in overrides.items()}
    cfg = compose(config, task__data=corpora, task__min_samples=0, **overrides)
    task = tasks.setup_task(cfg.task)
    task.load_dataset(split)
    return task, task.dataset(split)


def clips_of_epoch(task, data, epoch=1, **sharding):
    """The numbers of the clips that the workers get, batch by batch."""
    iterator = task.get_batch_iterator(data, max_sentences=3, seed=1, epoch=epoch, **sharding)
    return [batch["id"].tolist() for batch in iterator.next_epoch_itr()]


def test_clips_are_numbered_through_all_manifests(corpora):
    parts = [Manifest(f"{folder}/train.tsv") for folder in corpora]
    joined = pickle.loads(pickle.dumps(JoinedManifest(parts)))
    assert len(joined) == 29
    assert joined.num_samples.tolist() == [*parts[0].num_samples, *parts[1].num_samples]
    for clip in (0, 23, 24, 28):
        part, number = parts[clip // 24], clip % 24
        for ask in ("path", "relative_path", "location", "clip_samples"):
            assert getattr(joined, ask)(clip) == getattr(part, ask)(number)
    for clip in (-1, 29):
        with pytest.raises(IndexError, match=rf"small0/train\.tsv: clip {clip} of 29"):
            joined.path(clip)


def test_without_weights_every_clip_comes_once(corpora, caplog):
    with caplog.at_level(logging.INFO):
        task, data = load(corpora)
    assert sorted(chain(*clips_of_epoch(task, data))) == list(range(29))
    assert "large0/train.tsv: 24 clips" in caplog.text
    assert "small0/train.tsv: 5 clips" in caplog.text
    alone = load(corpora[0])[1]  # as a single string
    assert len(alone) == 24 and isinstance(alone.manifest, Manifest)
    assert np.array_equal(alone[3]["mask"], data[3]["mask"])


@pytest.mark.parametrize("weights, expected", [([1.0, 1.0], (15, 14)), ([9.0, 1.0], (26, 3))])
def test_weights_are_the_shares_of_an_epoch(corpora, weights, expected):
    """To within a clip; no clip of a corpus comes a second time before all others came."""
    task, data = load(corpora, weights=weights)
    epochs = []
    for epoch in (1, 2):
        drawn = np.concatenate(clips_of_epoch(task, data, epoch))
        assert len(drawn) == 29
        epochs.append(drawn)
        clips = drawn % 29
        assert np.abs((clips < 24).sum() - expected[0]) <= 1
        for corpus in (range(24), range(24, 29)):
            counts = [int((clips == clip).sum()) for clip in corpus]
            assert max(counts) - min(counts) <= 1
        assert len(set(drawn.tolist())) == 29
    assert not np.array_equal(*epochs)
    same = np.concatenate(clips_of_epoch(*load(corpora, weights=weights), epoch=2))
    assert np.array_equal(same, epochs[1])


def test_a_clip_that_comes_again_has_another_mask_and_crop(corpora):
    task, data = load(corpora, weights=[1.0, 1.0])
    first, again = data[25], data[25 + 29]
    assert (first["id"], again["id"]) == (25, 25 + 29)
    assert not np.array_equal(first["mask"], again["mask"])
    cropped = {"weights": [1.0, 1.0], "crop": "random", "target_length": 32, "roll": False}
    _, others = load(corpora, "finetune_tiny", **cropped)
    assert not np.array_equal(others[25]["source"], others[25 + 29]["source"])
    assert task._name_clip(25 + 29) == task._name_clip(25)
    data.manifest.parts[1].root = "/nowhere"
    replaced = ReplacingDataset(data)[25 + 29]
    assert replaced["bad_clip"].path == "/nowhere/train 1.wav"


@pytest.mark.parametrize("before, after", [(1, 1), (1, 2), (2, 1)])
def test_a_resumed_epoch_goes_on_with_the_same_draw(corpora, before, after):
    def workers(number):
        task, data = load(corpora, weights=[1.0, 2.0])
        sharding = {"max_sentences": 3, "seed": 1, "num_shards": number}
        return [
            task.get_batch_iterator(data, shard_id=i, epoch=2, **sharding) for i in range(number)
        ]

    def take(iterators, count=None):
        epochs, taken = [iterator.next_epoch_itr() for iterator in iterators], []
        while epochs[0].has_next() and count != 0:
            batches = [next(epoch) for epoch in epochs]  # the last workers may have none
            taken += [clip for batch in batches if batch for clip in batch["id"].tolist()]
            count = count and count - 1
        return taken

    whole = take(workers(1))
    started = workers(before)
    seen = take(started, 4 // before)
    resumed = workers(after)
    for worker in resumed:
        worker.load_state_dict(started[0].state_dict())
    assert len(whole) == 29
    assert Counter(seen + take(resumed)) == Counter(whole)


def test_shares_are_exact():
    drawn = draw_shares([0, 10, 12], [1, 3], 40, np.ones(12), np.random.default_rng(0))
    counts = np.bincount(drawn % 12, minlength=12)
    assert counts.tolist() == [1] * 10 + [15, 15]
    assert len(set(drawn.tolist())) == 40
    weights = np.array([1.0, 1e-9, 1.0, 1.0, 1e-9])
    drawn = draw_shares([0, 3, 5], [2, 1], 3, weights, np.random.default_rng(0))
    assert sorted(drawn) == [0, 2, 3]


def test_finetuning_draws_rare_classes_within_each_share(corpora):
    task, data = load(corpora, "finetune_tiny", weights=[1.0, 1.0], num_samples=8, mixup_alpha=0.0)
    assert np.bincount(np.concatenate(clips_of_epoch(task, data)) // 24).tolist() == [4, 4]
    again = data[28 + 29]
    assert again["target"].tolist() == data[28]["target"].tolist() == [0, 1, 0]
    _, valid = load(corpora, "finetune_tiny", "valid", weights=[1.0, 2.0])
    assert (len(valid), valid.weights, len(valid.labels)) == (7, None, 7)
    assert valid.ordered_indices().tolist() == list(range(7))
    assert valid[4]["target"].tolist() == [1, 0, 0]


def test_other_classes_are_refused(corpora, tmp_path):
    other = shutil.copytree(corpora[1], tmp_path / "other")
    classes = eat.data.labels.read_descriptors(other / "label_descriptors.csv")
    for changed, message in (
        (classes[:2], "found 2 classes, expected 3, as in"),
        ([*classes[:2], classes[2]._replace(id="x", name="y")], "found 'x' as class 2, expected"),
    ):
        write_descriptors(other / "label_descriptors.csv", changed)
        with pytest.raises(ValueError, match=rf"task\.data: .*/other/label_.*csv: {message}"):
            load([corpora[0], str(other)], "finetune_tiny")


def test_what_does_not_fit_is_refused(corpora, tmp_path):
    def check(data, weights=None):
        cfg = compose("pretrain_tiny", task__data=data, task__weights=weights)
        cfg.checkpoint.patience, cfg.checkpoint.maximize_best_checkpoint_metric = -1, False
        check_settings(cfg)

    check(corpora, [0.5, 0.5])
    (tmp_path / "train.tsv").write_text("")
    expected = r"expected a number above 0 for each of the 2 folders of task\.data, or null"
    for data, weights, message in (
        (corpora, [1.0], rf"^task\.weights: found \[1\.0\], {expected}"),
        (corpora, [1.0, 0.0], rf"task\.weights: found \[1\.0, 0\.0\], {expected}"),
        ([], None, r"task\.data: found \[\], expected a folder with manifests, or several"),
        (2024, None, r"task\.data: found 2024, expected a folder with manifests, or several"),
        ([2024], None, r"task\.data: found \[2024\], expected a folder with manifests"),
        ([corpora[0], "nowhere"], None, r"task\.data: found nowhere, expected a folder"),
        ([corpora[0], str(tmp_path)], None, r"dataset\.valid_subset: found valid, .* holds train"),
        (["s3://b/a"], None, r"task\.data: s3://b/a: found a URL, expected a local path"),
    ):
        with pytest.raises(ValueError, match=message):
            check(data, weights)
    with pytest.raises(ValueError, match=r"task\.weights: found"):
        load(corpora, weights=[1.0])
    assert folders_of(tmp_path) == [str(tmp_path)]
