import re

import numpy as np
import pytest
import torch

import eat

CONSTANTS = {"as": (-4.268, 4.569, 1024), "esc": (-6.627, 5.359, 512), "spc": (-6.846, 5.565, 128)}


def assert_same_filter_bank(found, recorded, scale=1.0):
    """Equal within 1e-5 on average; what is larger is rounding of the FFT.

    A float32 FFT leaves an error of about 1e-7 of the frame's peak amplitude in every bin. Cells
    far below the peak amplify it: the recorded values themselves are up to 1e-3 from a
    float64 evaluation, and another FFT library errs elsewhere by as much.
    """
    error = (found - recorded).abs() * scale
    assert error.mean() < 1e-5
    assert error.quantile(0.85) < 1e-5
    assert error.max() < 3e-3


@pytest.mark.parametrize("length", ["10s", "1s"])
def test_filter_bank_equals_the_recorded_one(golden, length):
    found = eat.LogMel().filter_bank(golden(f"wave_{length}"))[0]
    recorded = golden(f"fbank_{length}_raw")
    assert found.shape == recorded.shape
    assert_same_filter_bank(found, recorded)
    peak = recorded.exp().amax(dim=1, keepdim=True)
    assert ((found.exp() - recorded.exp()).abs() / peak).max() < 2e-5


@pytest.mark.parametrize("length", ["10s", "1s"])
@pytest.mark.parametrize("data_set", sorted(CONSTANTS))
def test_network_input_equals_the_recorded_one(golden, length, data_set):
    mean, std, target_length = CONSTANTS[data_set]
    found = eat.LogMel(mean, std, target_length)(golden(f"wave_{length}"))
    recorded = golden(f"fbank_{length}_{data_set}")
    assert found.shape == (1, 1, target_length, 128)
    assert_same_filter_bank(found[0, 0], recorded, scale=2 * std)


def test_filter_bank_is_as_precise_as_float32_allows(golden):
    """Against the same definition in float64: most cells agree to 1e-5."""
    wave = golden("wave_10s")
    frames = wave.double().sub(wave.double().mean()).unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    previous = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    window = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(400, dtype=torch.float64) / 399)
    power = torch.fft.rfft((frames - 0.97 * previous) * window, n=512).abs() ** 2
    edges = torch.linspace(_mel(20.0), _mel(8000.0), 130, dtype=torch.float64)
    mel = _mel(torch.arange(257, dtype=torch.float64) * 31.25)
    rising = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    weights = torch.minimum(rising, falling).clamp_min(0)
    weights[:, 256] = 0
    exact = (power @ weights.T).clamp_min(torch.finfo(torch.float32).eps).log()
    error = (eat.LogMel().filter_bank(wave)[0] - exact).abs()
    assert error.median() < 1e-5
    assert error.max() < 1e-2


def _mel(hz):
    return 1127.0 * torch.log(1.0 + torch.as_tensor(hz, dtype=torch.float64) / 700.0)


@pytest.mark.parametrize("seconds, frames", [(10, 998), (5, 498), (1, 98)])
def test_num_frames(seconds, frames):
    num_frames, num_samples_for = eat.LogMel().num_frames, eat.LogMel().num_samples_for
    assert num_frames(seconds * 16_000) == frames
    assert num_frames(num_samples_for(frames)) == frames
    assert num_frames(num_samples_for(frames) - 1) == frames - 1
    assert eat.LogMel().filter_bank(torch.zeros(seconds * 16_000)).shape == (1, frames, 128)


def test_longer_clips_are_cut_at_the_end():
    wave, log_mel = torch.randn(3 * 16_000), eat.LogMel(target_length=128)
    assert torch.equal(eat.LogMel(target_length=256)(wave)[:, :, :128], log_mel(wave))
    frames = eat.LogMel().filter_bank(wave)[:, :128]
    assert torch.allclose(eat.LogMel().filter_bank(wave[: log_mel.max_samples]), frames, atol=1e-2)
    assert eat.LogMel().filter_bank(wave[: log_mel.max_samples - 1]).shape[1] == 127


@pytest.mark.parametrize("num_samples, frames", [(16_000, 112), (160_000, 1008), (100, 16)])
def test_without_target_length_the_length_is_rounded_up(num_samples, frames):
    assert eat.LogMel(target_length=None)(torch.randn(num_samples)).shape == (1, 1, frames, 128)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"target_length": 1000}, r"target_length: found 1000, .*multiple.*16 \(nearest: 992\)"),
        ({"target_length": 0}, "target_length: found 0"),
        ({"target_length": 512.0}, "target_length: found 512.0, expected a whole number"),
        ({"std": 0.0}, "std: found 0.0, expected a finite number above 0"),
        ({"std": float("inf")}, "std: found inf, expected a finite number above 0"),
        ({"mean": float("nan")}, "mean: found nan, expected a finite number"),
        ({"sample_rate_hz": 16000.0}, "sample_rate_hz: found 16000.0, expected a whole number"),
        ({"sample_rate_hz": 500}, "sample_rate_hz: found 500, .* of at least 1000"),
        ({"high_hz": 9000}, "found 20 and 9000, expected .* <= 8000, half of sample_rate_hz"),
        ({"low_hz": 500, "high_hz": 400}, "low_hz, high_hz: found 500 and 400, expected 0 <= low"),
        ({"low_hz": -1}, "low_hz, high_hz: found -1 and 8000"),
        ({"hop_ms": 0.01}, "hop_ms: found 0.01, expected at least 0.0625, a sample"),
        ({"hop_ms": float("inf")}, "hop_ms: found inf"),
        ({"hop_ms": 1000.0}, "hop_ms: found 1000.0, expected .* at most 25, a frame"),
        ({"patch_size": 0}, "patch_size: found 0, expected 1 or more"),
        ({"num_mel_bins": 0}, "num_mel_bins: found 0, expected 1 or more"),
        ({"speed": 0.3}, r"speed: found 0.3, .* 16000 gives a whole rate .*\(found 53333.3\)"),
        ({"speed": 0}, "speed: found 0, expected a number above 0"),
    ],
)
def test_impossible_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        eat.LogMel(**arguments)


RANGES = [
    {"sample_rate_hz": 32_000},
    {"sample_rate_hz": 48_000},
    {"sample_rate_hz": 32_000, "low_hz": 50.0, "high_hz": 14_000.0},
    {"sample_rate_hz": 22_050, "hop_ms": 5.0},  # window and hop are no whole samples
]


def sweep(rate_hz):
    """Half a second from 50 Hz to half the rate, in noise."""
    time = torch.arange(rate_hz // 2, dtype=torch.float64) / rate_hz
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return (0.3 * torch.sin(2 * torch.pi * (50 + rate_hz / 2 * time) * time) + 0.1 * noise).float()


def kaldi(wave, sample_rate_hz, low_hz=20.0, high_hz=None, hop_ms=10.0):
    """Kaldi's definition in float64: frames of 25 ms, all bins of an FFT of a power of two."""
    wave, rate_hz = wave.double().numpy() - wave.double().numpy().mean(), sample_rate_hz
    size, hop = int(rate_hz * 0.025), int(rate_hz * hop_ms / 1000)
    fft_size = 2 ** int(np.ceil(np.log2(size)))
    hann = np.hanning(size)
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = np.linspace(mel(low_hz), mel(high_hz or rate_hz / 2), 130)
    bins = mel(np.fft.rfftfreq(fft_size, 1 / rate_hz))[:-1]
    triangles = [np.interp(bins, edges[i : i + 3], [0, 1, 0], 0, 0) for i in range(128)]
    rows = []
    for start in range(0, len(wave) - size + 1, hop):
        frame = wave[start : start + size] - wave[start : start + size].mean()
        frame[1:] -= 0.97 * frame[:-1].copy()
        power = np.abs(np.fft.rfft(frame * hann, fft_size)[:-1]) ** 2
        rows.append(np.log(np.maximum(np.array(triangles) @ power, np.finfo(np.float32).eps)))
    return torch.from_numpy(np.array(rows))


@pytest.mark.parametrize("settings", RANGES)
def test_other_rates_and_ranges_are_kaldis(settings):
    wave = sweep(settings["sample_rate_hz"])
    found = eat.LogMel(**settings).filter_bank(wave)[0]
    expected = kaldi(wave, **settings)
    assert found.shape == expected.shape
    error = (found - expected).abs()
    assert error.median() < 1e-5
    assert error.max() < 1e-2


@pytest.mark.parametrize("settings", RANGES)
def test_other_rates_and_ranges_are_torchaudios(settings):
    try:
        from torchaudio.compliance.kaldi import fbank
    except (ImportError, OSError):
        pytest.skip("torchaudio is not installed, or for another torch")
    wave, log_mel = sweep(settings["sample_rate_hz"]), eat.LogMel(**settings)
    expected = fbank(
        (wave - wave.mean()).unsqueeze(0),
        **{"htk_compat": True, "use_energy": False, "window_type": "hanning", "dither": 0.0},
        **{"num_mel_bins": 128, "sample_frequency": log_mel.sample_rate_hz},
        **{"low_freq": log_mel.low_hz, "high_freq": log_mel.top_hz, "frame_shift": log_mel.hop_ms},
    )
    assert (log_mel.filter_bank(wave)[0] - expected).abs().max() < 1e-3


def test_the_released_rates_and_range_are_the_default():
    wave = sweep(16_000)
    spelled_out = eat.LogMel(
        **{
            "sample_rate_hz": 16_000,
            "low_hz": 20.0,
            "high_hz": 8000.0,
            "hop_ms": 10.0,
            "speed": 1.0,
        }
    )
    assert torch.equal(spelled_out(wave), eat.LogMel()(wave))
    assert (spelled_out.window_samples, spelled_out.hop_samples) == (400, 160)
    # Speed changes the rate of reading, and nothing of what is done with the samples.
    slow = eat.LogMel(speed=0.1)
    assert torch.equal(slow(wave), eat.LogMel()(wave))
    assert (slow.reading_rate_hz, slow.step_seconds) == (160_000, pytest.approx(0.016))


def test_filters_that_hold_no_frequency_are_warned_of_once(caplog):
    log_mel = eat.LogMel(low_hz=30, high_hz=2000, target_length=64)
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    found, _ = log_mel(noise), log_mel(noise)
    empty = int((log_mel.mel_weights().sum(dim=0) == 0).sum())
    [message] = caplog.messages
    assert message.startswith(
        f"low_hz, high_hz: {empty} of 128 mel filters from 30 to 2000 Hz are narrower than the 31.2"
    )
    floor = (np.log(np.float32(1.1920929e-07)) + 4.268) / (2 * 4.569)
    assert int(((found[0, 0] - floor).abs().amax(dim=0) < 1e-4).sum()) == empty > 1
    eat.LogMel().filter_bank(noise)  # the released one has a single such filter
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "samples, message",
    [
        *((torch.zeros(s), f"found shape {s}, expected (S,)") for s in ((1, 2, 400), (0, 400), ())),
        (torch.zeros(16_000, dtype=torch.int16), "found torch.int16, expected float32 samples"),
    ],
)
def test_other_tensors_are_refused(samples, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        eat.LogMel().filter_bank(samples)


def test_silence_is_the_log_floor_and_padding_is_zero_before_normalisation():
    floor = np.log(np.float32(1.1920929e-07))
    assert torch.all((eat.LogMel().filter_bank(torch.zeros(16_000)) - floor).abs() < 1e-4)
    log_mel = eat.LogMel(mean=-4.268, std=4.569, target_length=128)
    padding = torch.tensor(4.268 / (2 * 4.569))
    assert torch.allclose(log_mel(torch.randn(16_000))[0, 0, 98:], padding)
    assert torch.allclose(log_mel(torch.zeros(0)), padding)
    assert eat.LogMel().filter_bank(torch.zeros(0)).shape == (1, 0, 128)
    assert eat.LogMel().filter_bank(torch.zeros(2, 399)).shape == (2, 0, 128)


def test_a_batch_is_its_clips_one_by_one():
    waves = torch.randn(3, 9000, generator=torch.Generator().manual_seed(1))
    log_mel = eat.LogMel(target_length=128)
    for number, wave in enumerate(waves):
        assert torch.equal(
            eat.LogMel().filter_bank(waves)[number], eat.LogMel().filter_bank(wave)[0]
        )
        assert torch.equal(log_mel(waves)[number], log_mel(wave)[0])


def test_the_waveform_gets_its_gradient():
    wave = torch.randn(1200, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weights = torch.randn(1, 6, 128, generator=torch.Generator().manual_seed(2))
    (eat.LogMel().filter_bank(wave) * weights).sum().backward()
    step = 1e-3 * torch.randn(1200, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ahead, behind = (eat.LogMel().filter_bank(wave + sign * step) for sign in (1, -1))
    expected = ((ahead - behind) * weights).sum() / 2
    assert (wave.grad * step).sum() == pytest.approx(expected.item(), rel=1e-2)
