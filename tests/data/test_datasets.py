import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import soundfile
import torch
from fairseq.data.iterators import EpochBatchIterator
from helpers import private_bytes, write_clips, write_tsv

from eat.audio import AudioError, LogMel, ReadingConfig, read_audio
from eat.data.datasets import PretrainingDataset, SpectrogramDataset
from eat.data.manifest import Manifest, write_manifest
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


def test_spectrograms_can_be_made_where_the_network_is(recordings):
    workers, device = make(recordings), make(recordings, on_device=True)
    expected = workers.collater([workers[index] for index in range(len(workers))])
    batch = device.collater([device[index] for index in range(len(device))])
    assert {count for _, count in batch["clips"]} == {8000, LOG_MEL.max_samples}
    assert batch["waveforms"].dtype == torch.int32 and "source" not in batch["net_input"]
    found = device.finish(batch)
    assert found.keys() == {*expected, "clips"}
    assert found["net_input"].keys() == expected["net_input"].keys()
    assert torch.equal(found["net_input"]["source"], expected["net_input"]["source"])
    assert torch.equal(found["net_input"]["mask"], expected["net_input"]["mask"])


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


def serve(data, epoch, num_workers=0):
    """The batches of an epoch as fairseq would serve them."""
    data.set_epoch(epoch)
    np.random.seed(epoch)
    batches = data.batch_by_size(data.ordered_indices(), max_sentences=5)
    options = {"num_workers": num_workers, "epoch": epoch}
    return list(EpochBatchIterator(data, data.collater, batches, **options).next_epoch_itr())


def test_every_epoch_has_every_clip_once_in_a_new_order(manifests):
    data = make(manifests)
    first, second = ([batch["id"].tolist() for batch in serve(data, epoch)] for epoch in (1, 2))
    assert sorted(len(batch) for batch in first) == [2, 5, 5]
    for epoch in (first, second):
        assert sorted(clip for batch in epoch for clip in batch) == list(range(12))
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_workers_serve_the_same(manifests):
    data = make(manifests)
    data.set_epoch(3)
    alone = {clip: data[clip]["mask"] for clip in range(12)}
    for batch in serve(data, 3, num_workers=2):
        for clip, mask in zip(batch["id"].tolist(), batch["net_input"]["mask"], strict=True):
            assert torch.equal(mask, alone[clip])


def test_validation_keeps_the_order_of_the_manifest(manifests):
    data = make(manifests, shuffle=False)
    assert data.ordered_indices().tolist() == list(range(12))


def test_batches_need_a_number_of_clips(manifests):
    with pytest.raises(ValueError, match="dataset.batch_size: not set"):
        make(manifests).batch_by_size(np.arange(3), max_tokens=100)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"min_samples": 999_999}, "train.tsv: found no clip of at least 999999 samples"),
        ({"masking": MaskingConfig()}, "mask_block_size: a block of 5 x 5 is more than"),
        ({"reading": ReadingConfig(crop="end")}, "task.crop: found 'end', expected one of"),
        (
            {"reading": ReadingConfig(hdf5_rate_hz=0)},
            "task.hdf5_rate_hz: found 0, expected 1 or more",
        ),
    ],
)
def test_impossible_settings(manifests, settings, message):
    with pytest.raises(ValueError, match=message):
        make(manifests, **settings)


def plain(folder, name="train", **settings):
    return SpectrogramDataset(Manifest(folder / f"{name}.tsv"), LOG_MEL, 0, False, **settings)


def test_a_missing_clip_is_named_with_its_line(tmp_path):
    entries = write_clips(tmp_path, 2)
    write_tsv(tmp_path / "train.tsv", tmp_path, [*entries, ("gone.wav", 16_000)])
    data = plain(tmp_path)
    with pytest.raises(AudioError, match=r"train.tsv:4: no such audio file: .*gone.wav"):
        data[2]


def test_only_the_start_of_a_long_clip_matters(tmp_path):
    generator = np.random.default_rng(0)
    long = 0.1 * generator.standard_normal(16_000 * 20)
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    write_tsv(tmp_path / "train.tsv", tmp_path, [("long.wav", len(long))])
    whole = LOG_MEL(torch.from_numpy(read_audio(tmp_path / "long.wav")))[0]
    assert torch.allclose(plain(tmp_path)[0]["source"], whole, atol=0.01)


@pytest.fixture
def recordings(tmp_path):
    """A folder with train.tsv: two recordings of 8 s at other rates, one of half a second."""
    generator = np.random.default_rng(0)
    entries = []
    lengths = [("a.wav", 16_000, 8), ("b.flac", 44_100, 8), ("c.wav", 16_000, 0.5)]
    for name, rate, seconds in lengths:
        samples = 0.1 * generator.standard_normal(int(rate * seconds))
        soundfile.write(tmp_path / name, samples, rate)
        entries.append((name, len(samples)))
    write_tsv(tmp_path / "train.tsv", tmp_path, entries)
    return tmp_path


def test_a_random_crop_is_a_part_of_the_recording(recordings):
    data = make(recordings, reading=ReadingConfig(crop="random"))
    wholes = [read_audio(recordings / name) for name in ("a.wav", "b.flac", "c.wav")]
    starts = []
    for epoch in range(1, 9):
        data.set_epoch(epoch)
        for clip, whole in enumerate(wholes):
            part = data._read(clip)[0].numpy()
            assert len(part) == min(len(whole), LOG_MEL.max_samples)
            spectrum = np.fft.rfft(whole, 1 << 18) * np.fft.rfft(part, 1 << 18).conj()
            start = int(np.fft.irfft(spectrum)[: len(whole)].argmax())
            assert np.abs(whole[start : start + len(part)] - part).max() < 1e-4
            starts.append((clip, start))
    assert {start for clip, start in starts if clip == 2} == {0}
    for clip in (0, 1):
        drawn = [start for other, start in starts if other == clip]
        assert len(set(drawn)) == 8
        assert max(drawn) > 60_000
        assert min(drawn) < 40_000


def test_random_crops_depend_on_seed_epoch_and_clip_alone(recordings):
    def source(seed=1, epoch=1, clip=0):
        data = make(recordings, seed=seed, reading=ReadingConfig(crop="random"))
        data = pickle.loads(pickle.dumps(data))
        data.set_epoch(epoch)
        return data[clip]["source"]

    assert torch.equal(source(), source())
    assert not torch.equal(source(), source(seed=2))
    assert not torch.equal(source(), source(epoch=2))


def test_a_name_that_is_not_utf8(tmp_path):
    write_clips(tmp_path, 1)
    name = os.fsdecode(b"gr\xfcn.wav")
    os.rename(tmp_path / "clip 0.wav", os.path.join(tmp_path, name))
    write_manifest(tmp_path / "train.tsv", str(tmp_path), [(name, 16_000)])
    assert plain(tmp_path)[0]["source"].std() > 0.1


def test_clips_in_packs(tmp_path):
    entries = write_clips(tmp_path, 2)
    samples, rate = soundfile.read(tmp_path / "clip 0.wav", dtype="int16")
    with h5py.File(tmp_path / "pack.h5", "w") as file:
        file["clip 0"] = samples
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.write(tmp_path / "clip 1.wav", "1.wav")
    content = (tmp_path / "clip 1.wav").read_bytes()
    place = (tmp_path / "pack.zip").read_bytes().index(content)
    packed = [("pack.h5/clip 0", len(samples)), (f"pack.zip:{place}:{len(content)}", entries[1][1])]
    for name, lines in [("files", entries), ("packs", packed)]:
        write_tsv(tmp_path / f"{name}.tsv", tmp_path, lines)
    files = plain(tmp_path, "files")
    packs = plain(tmp_path, "packs", reading=ReadingConfig(hdf5_rate_hz=rate))
    for clip in range(2):
        assert torch.equal(files[clip]["source"], packs[clip]["source"])


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux says what is shared")
def test_spawned_workers_share_a_large_manifest(tmp_path):
    num_clips = 1_000_000
    with open(tmp_path / "train.tsv", "wb") as file:
        file.write(b"/data\n" + b"".join(b"clip %d.wav\t160000\n" % i for i in range(num_clips)))
    write_tsv(tmp_path / "small.tsv", "/data", [("clip.wav", 160_000)])
    context = torch.multiprocessing.get_context("spawn")
    found = []
    for name in ("small", "train"):
        data = SpectrogramDataset(Manifest(tmp_path / f"{name}.tsv"), LOG_MEL, 0, True)
        queue = context.SimpleQueue()
        process = context.Process(target=private_bytes, args=(data, queue))
        process.start()
        process.join()
        assert process.exitcode == 0
        found.append(queue.get())
    assert found[1][1] == f"/data/clip {num_clips - 1}.wav"
    assert found[1][0] - found[0][0] < 2_000_000  # the clips alone are 8 MB
