import logging
import os
import pickle

import numpy as np
import pytest
import torch
from helpers import write_clips, write_tsv

from eat.audio import AudioError, LogMel
from eat.data.datasets import PretrainingDataset
from eat.data.manifest import Manifest
from eat.nn import MaskingConfig
from eat.training.bad_audio import BadAudio, ReplacingDataset, TooMuchBadAudio
from eat.work import Failure

BAD = (1, 4)
CLIP = Failure("/audio/a b.wav", "train.tsv:2: /audio/a b.wav: not readable as audio")


@pytest.fixture
def damaged(tmp_path):
    """8 clips, two of them no audio."""
    entries = write_clips(tmp_path, 8)
    for clip in BAD:
        (tmp_path / entries[clip][0]).write_bytes(b"nothing to hear")
    write_tsv(tmp_path / "train.tsv", tmp_path, entries)
    return make(tmp_path)


def make(folder, seed=1, **settings):
    settings = {"min_samples": 0, "shuffle": True, "masking": MaskingConfig(2, 0.5, 3), **settings}
    manifest = Manifest(folder / "train.tsv")
    return ReplacingDataset(
        PretrainingDataset(manifest, LogMel(target_length=128), seed=seed, **settings)
    )


def test_good_clips_are_what_they_were(damaged):
    for clip in set(range(8)) - set(BAD):
        found, expected = damaged[clip], damaged.dataset[clip]
        assert found.keys() == expected.keys()
        assert torch.equal(found["source"], expected["source"])


def test_a_bad_clip_becomes_another_one(damaged, tmp_path):
    sample = damaged[1]
    expected = damaged.dataset[sample["id"]]
    assert sample["id"] not in BAD
    assert torch.equal(sample["source"], expected["source"])
    assert torch.equal(sample["mask"], expected["mask"])
    assert sample["bad_clip"].path == str(tmp_path / "clip 1.wav")
    assert sample["bad_clip"].reason.startswith(f"{tmp_path}/train.tsv:3: {tmp_path}/clip 1.wav: ")


def test_which_one_depends_on_seed_epoch_and_clip_alone(damaged, tmp_path):
    def replacement(clip=1, epoch=1, seed=1, dataset=None):
        dataset = dataset or make(tmp_path, seed)
        dataset.set_epoch(epoch)
        return dataset[clip]["id"]

    worker = pickle.loads(pickle.dumps(damaged))
    worker[3], worker[4]
    assert replacement(dataset=worker) == replacement()
    assert len({replacement(epoch=epoch) for epoch in range(1, 9)}) > 2
    assert len({replacement(seed=seed) for seed in range(1, 9)}) > 2
    pairs = [(replacement(1, epoch), replacement(4, epoch)) for epoch in range(1, 9)]
    assert any(one != other for one, other in pairs)


def test_clips_that_are_left_out_are_not_drawn(damaged, tmp_path):
    lengths = damaged.dataset.manifest.num_samples
    dataset = make(tmp_path, min_samples=int(np.median(lengths)))
    kept = dataset.dataset.clips.tolist()
    for epoch in range(1, 20):
        dataset.set_epoch(epoch)
        assert {dataset[index]["id"] for index in range(len(kept))} <= set(kept) - set(BAD)


def test_a_batch_tells_of_its_bad_clips(damaged, tmp_path):
    batch = damaged.collater([damaged[index] for index in (0, 1, 4)])
    assert [clip.path for clip in batch["bad_clips"]] == [
        str(tmp_path / f"clip {clip}.wav") for clip in BAD
    ]
    assert batch["net_input"]["source"].shape == (3, 1, 128, 128)
    assert damaged.collater([damaged[0]])["bad_clips"] == []
    assert damaged.collater([]) == {}


def test_nothing_but_bad_clips(tmp_path):
    entries = write_clips(tmp_path, 3)
    write_tsv(tmp_path / "train.tsv", tmp_path / "gone", entries)
    message = r"train.tsv:3: no such audio file: .*; and none of 10 others can be read: .*train.tsv"
    with pytest.raises(AudioError, match=message):
        make(tmp_path)[1]


def test_a_clip_is_named_once(tmp_path, caplog):
    bad_audio = BadAudio(str(tmp_path / "bad_audio.tsv"), 0.5)
    other = CLIP._replace(path="/audio/b.wav", reason="train.tsv:3: no such file")
    assert bad_audio.note({"bad_clips": [CLIP]}) == 1
    assert bad_audio.note({"bad_clips": [CLIP, other]}) == 2
    assert bad_audio.note({"id": torch.arange(3)}) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"replaced a clip that cannot be read: {clip.reason}" for clip in (CLIP, other)
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    listed = (tmp_path / "bad_audio.tsv").read_text().splitlines()
    assert listed == ["\t".join(CLIP), "\t".join(other)]


def test_other_workers_and_restarts_do_not_name_it_again(tmp_path, caplog):
    file = str(tmp_path / "bad_audio.tsv")
    workers = [BadAudio(file, 0.5) for _ in range(2)]
    clips = [Failure(os.fsdecode(b"/audio/\xff%d.wav" % n), f"problem {n}") for n in range(4)]
    for clip, order in zip(clips, (workers, workers[::-1]) * 2, strict=True):
        for worker in order:
            worker.note({"bad_clips": [clip]})
    BadAudio(file, 0.5).note({"bad_clips": clips})
    assert len(caplog.records) == 4
    assert len((tmp_path / "bad_audio.tsv").read_bytes().splitlines()) == 4


def test_without_a_file_each_worker_names_it(tmp_path, caplog):
    for _ in range(2):
        bad_audio = BadAudio(str(tmp_path / "gone" / "bad_audio.tsv"), 0.5)
        bad_audio.note({"bad_clips": [CLIP]})
        bad_audio.note({"bad_clips": [CLIP]})
    assert caplog.text.count(CLIP.reason) == 2
    assert caplog.text.count("bad_audio.tsv: cannot be written: No such file or directory") == 2


@pytest.mark.parametrize("as_count", [int, torch.tensor])
def test_too_many_bad_clips(tmp_path, as_count):
    bad_audio = BadAudio(str(tmp_path / "bad_audio.tsv"), 0.1)
    bad_audio.start_epoch(3, 50)
    bad_audio.count += as_count(5)
    bad_audio.check()
    bad_audio.start_epoch(4, 50)
    bad_audio.count += as_count(6)
    message = (
        r"task.max_bad_ratio: found 6 clips that cannot be read among the 50 of epoch 4, expected"
        r" at most 0.1 of them. They are listed in .*/bad_audio.tsv; `eat manifest check` writes"
    )
    for check in (bad_audio.check, lambda: bad_audio.start_epoch(5, 50)):
        with pytest.raises(TooMuchBadAudio, match=message):
            check()
