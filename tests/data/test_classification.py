import pickle

import numpy as np
import pytest
import torch

from eat.audio import LogMel, ReadingConfig, read_audio
from eat.audio.augment import AugmentationConfig, mask_spectrogram, mix_up
from eat.data.classification import ClassificationDataset
from eat.data.event_targets import labels_of
from eat.data.events import read_events
from eat.data.labels import read_descriptors, read_labels
from eat.data.manifest import Manifest
from eat.randomness import Purpose, generator_for

LOG_MEL = LogMel(target_length=128)
NOTHING = dict(roll=False, noise=False, mixup_alpha=0.0, spec_augment_ratio=0.0)


def make(folder, split="train", augmentation=None, **settings):
    manifest = Manifest(folder / f"{split}.tsv")
    descriptors = read_descriptors(folder / "label_descriptors.csv")
    return ClassificationDataset(
        manifest,
        LOG_MEL,
        min_samples=0,
        shuffle=True,
        labels=read_labels(folder / f"{split}.lbl", manifest, descriptors),
        augmentation=AugmentationConfig(**{**NOTHING, **augmentation}) if augmentation else None,
        **settings,
    )


def batch(data, clips=(0, 1, 2, 3), epoch=1):
    data.set_epoch(epoch)
    return data.collater([data[clip] for clip in clips])


def source(data, **kwargs):
    return batch(data, **kwargs)["net_input"]["source"]


def test_targets(multi_labelled):
    found = batch(make(multi_labelled))
    assert found["target"].tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert found["target"].dtype == torch.float64  # or fairseq would round them to bf16
    assert make(multi_labelled).collater([]) == {}


def test_without_augmentation_it_is_the_front_end_s_output(labelled):
    waveform = torch.from_numpy(read_audio(labelled / "audio" / "train 2.wav"))
    expected = LOG_MEL(waveform[: LOG_MEL.max_samples])[0]
    assert torch.equal(source(make(labelled))[2], expected)
    assert torch.equal(source(make(labelled, augmentation=NOTHING))[2], expected)


@pytest.mark.parametrize(
    "augmentation",
    [
        {"roll": True},
        {"noise": True},
        {"mixup_alpha": 0.8, "mixup_prob": 1.0},
        {"spec_augment_ratio": 0.2},
    ],
)
def test_augmentation_depends_on_seed_epoch_and_clips_alone(labelled, augmentation):
    data = make(labelled, augmentation=augmentation)
    first = source(data)
    worker = pickle.loads(pickle.dumps(make(labelled, augmentation=augmentation)))
    worker[5]  # what a worker has served before does not matter
    assert torch.equal(first, source(worker))
    assert not torch.equal(first, source(make(labelled)))
    assert not torch.equal(first, source(data, epoch=2))
    assert not torch.equal(first, source(make(labelled, augmentation=augmentation, seed=2)))


def test_augmentation_is_the_same_where_the_network_is(labelled):
    augmentation = dict(roll=True, noise=True, mixup_alpha=0.8, spec_augment_ratio=0.2)
    expected = batch(make(labelled, augmentation=augmentation), epoch=2)
    data = make(labelled, augmentation=augmentation, on_device=True)
    found = data.finish(batch(data, epoch=2))
    assert torch.equal(found["net_input"]["source"], expected["net_input"]["source"])
    assert torch.equal(found["target"], expected["target"])


def test_clips_are_augmented_differently(labelled):
    noisy, plain = source(make(labelled, augmentation={"noise": True})), source(make(labelled))
    assert not torch.equal(noisy[0] - plain[0], noisy[1] - plain[1])


def test_a_batch_is_mixed_first_and_masked_then(labelled):
    config = dict(mixup_alpha=0.8, mixup_prob=1.0, spec_augment_ratio=0.2)
    found = batch(make(labelled, augmentation=config))
    mixed = batch(make(labelled, augmentation={**config, "spec_augment_ratio": 0.0}))
    assert torch.equal(found["target"], mixed["target"])
    hidden = found["net_input"]["source"] == 0
    expected = mixed["net_input"]["source"].masked_fill(hidden, 0.0)
    assert hidden.any() and torch.equal(found["net_input"]["source"], expected)


def test_mixing_and_masking_are_the_functions_of_the_audio_room(labelled):
    data, plain = make(labelled, augmentation={"mixup_alpha": 0.8}), batch(make(labelled))
    data.augmentation.mixup_prob = 1.0
    generator = generator_for(1, Purpose.MIXUP, 1, 0, 1, 2, 3)
    generator.random()  # decides whether to mix
    expected = mix_up(plain["net_input"]["source"], plain["target"], 0.8, generator)
    found = batch(data)
    assert torch.equal(found["net_input"]["source"], expected[0])
    assert torch.equal(found["target"], expected[1])
    data = make(labelled, augmentation={"spec_augment_ratio": 0.3})
    generator = generator_for(1, Purpose.SPEC_AUGMENT, 1, 3)
    expected = mask_spectrogram(plain["net_input"]["source"][3], 0.3, generator)
    assert torch.equal(source(data)[3], expected)


def test_a_share_of_the_batches_is_mixed(labelled):
    data = make(labelled, augmentation={"mixup_alpha": 0.8, "mixup_prob": 0.25})
    samples = [data[clip] for clip in range(3)]
    is_mixed = []
    for epoch in range(1, 201):
        data.set_epoch(epoch)
        batch = data.collater(samples)
        assert batch["num_labels"] == pytest.approx(batch["target"].sum().item())
        is_mixed.append(bool((batch["target"] % 1).any()))
    assert np.mean(is_mixed) == pytest.approx(0.25, abs=0.08)


def test_weighted_draws_of_an_epoch(multi_labelled):
    data, draws = make(multi_labelled, num_samples=8), []
    for epoch in [1, *range(200)]:
        data.set_epoch(epoch)
        draws.append(data.ordered_indices().tolist())
    assert draws[0] == draws[2] != draws[1]
    assert len(set(draws[0])) == 8
    # Of 24 clips 6 have the high tone, and 18, 12 and 6 the low, middle and high one.
    rare, common = (np.mean(np.array(draws) % 4 == kind) for kind in (3, 0))
    assert rare > 0.3 > 0.2 > common


@pytest.mark.parametrize("num_samples", [0, 25])
def test_more_clips_than_there_are(labelled, num_samples):
    message = f"task.num_samples: found {num_samples}, expected 1 to 24"
    with pytest.raises(ValueError, match=message):
        make(labelled, num_samples=num_samples)


def make_timed(folder, split="train", augmentation=None, log_mel=LOG_MEL, **settings):
    manifest = Manifest(folder / f"{split}.tsv")
    descriptors = read_descriptors(folder / "label_descriptors.csv")
    events = read_events(folder / f"{split}.events.tsv", manifest, descriptors)
    return ClassificationDataset(
        manifest,
        log_mel,
        min_samples=0,
        shuffle=True,
        labels=labels_of(events),
        events=events,
        augmentation=AugmentationConfig(**{**NOTHING, **augmentation}) if augmentation else None,
        **{"steps_per_row": 2, **settings},
    )


def loudness(source, steps_per_row=2):
    """(N, 3): the median over each step of the bins of the three tones."""
    # 300, 800 and 2000 Hz.
    bins = source[0][:, [15, 37, 67]]
    return bins.unflatten(0, (-1, 16 // steps_per_row)).median(dim=1).values


@pytest.mark.parametrize(
    "augmentation, settings",
    [
        (None, {}),
        ({"roll": True}, {}),
        ({"noise": True}, {}),
        ({"roll": True, "noise": True}, {"steps_per_row": 4}),
        ({"roll": True}, {"reading": ReadingConfig("random"), "log_mel": LogMel(target_length=48)}),
    ],
)
def test_targets_in_time_are_where_the_sound_is(timed, augmentation, settings):
    data = make_timed(timed, augmentation=augmentation, **settings)
    steps = data.steps_per_row
    checked = 0
    for epoch in (1, 2):
        data.set_epoch(epoch)
        for sample in (data[clip] for clip in range(24)):
            target, valid = sample["target"], -(-sample["num_frames"] * steps // 16)
            assert target.shape == (sample["source"].shape[1] // 16 * steps, 3)
            assert not target[valid:].any()
            loud = loudness(sample["source"], steps)[: valid - 1]
            active, silent = (target[: valid - 1] > 0.95, target[: valid - 1] == 0)
            assert (loud[active] > 0.5).all() and (loud[silent] < 0.5).all()
            checked += int(active.sum())
    assert checked > 60


def test_padding_has_no_targets_and_a_mixed_clip_is_as_long_as_the_longer(timed):
    augmentation = {"mixup_alpha": 0.8, "mixup_prob": 1.0}
    plain, mixed = batch(make_timed(timed)), batch(make_timed(timed, augmentation=augmentation))
    frames = plain["num_frames"]
    assert torch.equal(mixed["num_frames"], torch.maximum(frames, frames.flip(0)))
    assert torch.equal(mixed["net_input"]["lengths"], mixed["num_frames"])
    generator = generator_for(1, Purpose.MIXUP, 1, 0, 1, 2, 3)
    generator.random()
    expected = mix_up(plain["net_input"]["source"], plain["target"], 0.8, generator)
    assert torch.equal(mixed["net_input"]["source"], expected[0])
    assert torch.equal(mixed["target"], expected[1])
    assert not mix_targets_beyond(mixed["target"], mixed["num_frames"]).any()
    assert "events" not in mixed and plain["events"][0] == []
    masked = batch(make_timed(timed, augmentation={"spec_augment_ratio": 0.5}))
    assert torch.equal(masked["target"], plain["target"])
    # Without padding the network needs no mask.
    short = batch(make_timed(timed, log_mel=LogMel(target_length=64)))
    assert short["num_frames"].tolist() == [64] * 4 and "lengths" not in short["net_input"]


def mix_targets_beyond(target, num_frames):
    return target[torch.arange(16) * 8 >= num_frames.unsqueeze(1)]


def test_augmentation_in_time_depends_on_seed_epoch_and_clips_alone(timed):
    augmentation = {"roll": True, "noise": True, "mixup_alpha": 0.8}
    first = batch(make_timed(timed, augmentation=augmentation))
    worker = pickle.loads(pickle.dumps(make_timed(timed, augmentation=augmentation)))
    worker[5]
    again = batch(worker)
    assert torch.equal(first["target"], again["target"])
    assert torch.equal(first["net_input"]["source"], again["net_input"]["source"])
    assert not torch.equal(first["target"], batch(worker, epoch=2)["target"])
