import numpy as np
import pytest
import torch

from eat.audio.augment import AugmentationConfig, add_noise, mask_spectrogram, mix_up, roll_waveform


def draws(function, *arguments, count=400):
    return [function(*arguments, np.random.default_rng(seed)) for seed in range(count)]


def test_roll_rotates_and_scales():
    waveform = torch.arange(1.0, 101.0)
    offsets, gains = [], []
    for rolled, offset in draws(roll_waveform, waveform):
        gains.append(rolled.sum().item() / waveform.sum().item())
        offsets.append(int(rolled.argmin()))  # where the first sample went
        assert offset == offsets[-1]
        assert torch.allclose(torch.roll(rolled, -offsets[-1]), waveform * gains[-1])
    assert min(gains) > 0.5 and max(gains) < 1.5
    assert np.mean(gains) == pytest.approx(1.0, abs=0.02)
    # The standard deviation of Beta(10, 10).
    assert np.std(gains) == pytest.approx((100 / (400 * 21)) ** 0.5, rel=0.1)
    assert len(set(offsets)) > 90


def test_noise_is_uniform_up_to_a_random_level_and_rotates_by_few_frames():
    source = torch.zeros(1, 64, 16)
    source[0, 30] = 100.0  # a frame to see the rotation by
    before = source.clone()
    shifts, levels = set(), []
    for noisy, shift in draws(add_noise, source):
        frame = int(noisy[0, :, 0].argmax())
        shifts.add(frame - 30)
        assert shift == frame - 30
        noise = torch.roll(noisy, 30 - frame, dims=1) - source
        assert noise.min() >= 0
        levels.append(noise.max().item())
        # Uniform from 0: the mean is half of the maximum.
        assert noise.mean().item() == pytest.approx(levels[-1] / 2, rel=0.1)
    assert torch.equal(source, before)
    assert shifts == set(range(-10, 10))
    assert 0.09 < max(levels) < 0.1
    assert np.mean(levels) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_mixup_mixes_with_the_reversed_batch(batch_size):
    torch.manual_seed(0)
    source, targets = torch.randn(batch_size, 1, 4, 3), torch.rand(batch_size, 2)
    mixed, mixed_targets = mix_up(source, targets, 0.8, np.random.default_rng(0))
    weight = np.random.default_rng(0).beta(0.8, 0.8)
    for index in range(batch_size):
        partner = batch_size - 1 - index
        expected = weight * source[index] + (1 - weight) * source[partner]
        assert torch.allclose(mixed[index], expected)
        expected = weight * targets[index] + (1 - weight) * targets[partner]
        assert torch.allclose(mixed_targets[index], expected)
    # Labels may be moved, but none is lost.
    assert mixed_targets.sum().item() == pytest.approx(targets.sum().item())


def test_masks_are_one_stripe_in_each_direction():
    frames, bins = 200, 100
    widths = {"time": [], "frequency": []}
    starts = []
    source = torch.ones(1, frames, bins)
    for masked in draws(mask_spectrogram, source, 0.2):
        hidden = masked[0] == 0
        hidden_frames, hidden_bins = hidden.all(dim=1), hidden.all(dim=0)
        assert torch.equal(hidden, hidden_frames[:, None] | hidden_bins[None])
        for name, line in (("time", hidden_frames), ("frequency", hidden_bins)):
            widths[name].append(int(line.sum()))
            where = line.nonzero().flatten()
            if len(where):
                assert where[-1] - where[0] + 1 == len(where)
        starts.extend(hidden_frames.nonzero().flatten()[:1].tolist())
    assert max(widths["time"]) == 40 and min(widths["time"]) == 0
    assert max(widths["frequency"]) == 20 and min(widths["frequency"]) == 0
    assert np.mean(widths["time"]) == pytest.approx(20, abs=1.5)  # uniform
    assert np.mean(widths["frequency"]) == pytest.approx(10, abs=1)
    assert min(starts) < 10 and max(starts) > 170
    assert (source == 1).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"mixup_alpha": -0.1}, "task.mixup_alpha: found -0.1, expected 0 or more"),
        ({"mixup_prob": 1.5}, "task.mixup_prob: found 1.5, expected 0 to 1"),
        ({"spec_augment_ratio": 2.0}, "task.spec_augment_ratio: found 2.0, expected 0 to 1"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        AugmentationConfig(**settings).check()
