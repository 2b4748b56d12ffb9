import pickle

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data.iterators import EpochBatchIterator
from helpers import write_clips, write_tsv

from eat.audio import AudioError, LogMel, read_audio
from eat.data.datasets import PretrainingDataset, SpectrogramDataset
from eat.data.manifest import Manifest
from eat.nn import MaskingConfig

MASKING = MaskingConfig(num_clones=4, mask_block_size=3)
LOG_MEL = LogMel(target_length=128)


def make(manifests, **settings):
    settings = {"min_samples": 0, "shuffle": True, "masking": MASKING, "seed": 1, **settings}
    return PretrainingDataset(Manifest(manifests / "train.tsv"), LOG_MEL, **settings)


def test_an_item_is_the_clip_and_its_masks(manifests):
    sample = make(manifests)[3]
    waveform = torch.from_numpy(read_audio(manifests / "audio" / "clip 3.wav"))
    assert sample["id"] == 3
    assert torch.equal(sample["source"], LOG_MEL(waveform[: LOG_MEL.max_samples])[0])
    assert sample["mask"].shape == (4, 64)
    assert sample["mask"].sum(dim=1).tolist() == [52] * 4


def test_a_batch(manifests):
    data = make(manifests)
    batch = data.collater([data[0], data[1], data[2]])
    assert batch["id"].tolist() == [0, 1, 2]
    assert batch["nsentences"] == 3
    assert batch["net_input"]["source"].shape == (3, 1, 128, 128)
    assert batch["net_input"]["mask"].shape == (3, 4, 64)
    assert batch["net_input"]["mask"].dtype == torch.bool
    assert data.collater([]) == {}


def test_masks_depend_on_seed_epoch_and_clip_alone(manifests):
    def mask(seed, epoch, clip, data=None):
        data = data or make(manifests, seed=seed)
        data.set_epoch(epoch)
        return data[clip]["mask"]

    first = mask(1, 1, 5)
    worker = pickle.loads(pickle.dumps(make(manifests)))
    assert torch.equal(first, mask(1, 1, 5, worker))
    others = [mask(2, 1, 5), mask(1, 2, 5), mask(1, 1, 6)]
    assert not any(torch.equal(first, other) for other in others)


def test_leaving_clips_out_does_not_change_the_masks_of_the_others(manifests):
    lengths = Manifest(manifests / "train.tsv").num_samples
    data = make(manifests, min_samples=int(np.median(lengths)))
    assert 0 < len(data) < len(lengths)
    kept = int(data.clips[2])
    assert kept != 2
    assert data[2]["id"] == kept
    assert torch.equal(data[2]["mask"], make(manifests)[kept]["mask"])


def epoch_order(data, epoch):
    """The clips of an epoch as fairseq would serve them."""
    data.set_epoch(epoch)
    np.random.seed(epoch)
    batches = data.batch_by_size(data.ordered_indices(), max_sentences=5)
    iterator = EpochBatchIterator(data, data.collater, batches, epoch=epoch)
    return [batch["id"].tolist() for batch in iterator.next_epoch_itr()]


def test_every_epoch_has_every_clip_once_in_a_new_order(manifests):
    data = make(manifests)
    first, second = epoch_order(data, 1), epoch_order(data, 2)
    assert sorted(len(batch) for batch in first) == [2, 5, 5]
    for epoch in (first, second):
        assert sorted(clip for batch in epoch for clip in batch) == list(range(12))
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_workers_serve_the_same(manifests):
    data = make(manifests)
    data.set_epoch(3)
    alone = {clip: data[clip]["mask"] for clip in range(12)}
    np.random.seed(0)
    batches = data.batch_by_size(data.ordered_indices(), max_sentences=5)
    iterator = EpochBatchIterator(data, data.collater, batches, num_workers=2, epoch=3)
    for batch in iterator.next_epoch_itr():
        for clip, mask in zip(batch["id"].tolist(), batch["net_input"]["mask"], strict=True):
            assert torch.equal(mask, alone[clip])


def test_validation_keeps_the_order_of_the_manifest(manifests):
    data = make(manifests, shuffle=False)
    assert data.ordered_indices().tolist() == list(range(12))


def test_batches_need_a_number_of_clips(manifests):
    with pytest.raises(ValueError, match="dataset.batch_size: not set"):
        make(manifests).batch_by_size(np.arange(3), max_tokens=100)


def test_no_clip_is_long_enough(manifests):
    with pytest.raises(ValueError, match=r"train.tsv: found no clip of at least 999999 samples"):
        make(manifests, min_samples=999_999)


def test_impossible_masks(manifests):
    with pytest.raises(ValueError, match="mask_block_size: a block of 5 x 5 is more than"):
        make(manifests, masking=MaskingConfig())


def test_a_missing_clip_is_named_with_its_line(tmp_path):
    entries = write_clips(tmp_path, 2)
    write_tsv(tmp_path / "train.tsv", tmp_path, [*entries, ("gone.wav", 16_000)])
    data = SpectrogramDataset(Manifest(tmp_path / "train.tsv"), LOG_MEL, 0, shuffle=False)
    with pytest.raises(AudioError, match=r"train.tsv:4: no such audio file: .*gone.wav"):
        data[2]


def test_only_the_start_of_a_long_clip_matters(tmp_path):
    generator = np.random.default_rng(0)
    long = 0.1 * generator.standard_normal(16_000 * 20)
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    write_tsv(tmp_path / "train.tsv", tmp_path, [("long.wav", len(long))])
    data = SpectrogramDataset(Manifest(tmp_path / "train.tsv"), LOG_MEL, 0, shuffle=False)
    whole = LOG_MEL(torch.from_numpy(read_audio(tmp_path / "long.wav")))[0]
    assert torch.allclose(data[0]["source"], whole, atol=0.01)
