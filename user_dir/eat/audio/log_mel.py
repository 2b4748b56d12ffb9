"""The filter bank: waveform to normalised log-mel spectrogram.

Kaldi's log-mel filter bank with the settings of the released code (25 ms Hann window, 10 ms hop,
128 bins from 20 Hz to 8 kHz, pre-emphasis 0.97, power spectrum, natural logarithm) in plain torch:
frames are a strided view, then come one real FFT and one matrix product. Other rates and ranges are
settings of `LogMel`.
"""

import logging
import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .ranges import WINDOW_MS, RangeConfig

logger = logging.getLogger(__name__)

PRE_EMPHASIS = 0.97
_VALUES_AT_ONCE = 512 * 512  # on a CPU, so that all steps stay in its caches
_FILTERS_AT_ONCE = 16  # 16 neighbouring triangles cover an eighth of the spectrum
_LOWEST_RATE_HZ = 1000  # below, a window holds fewer than 25 samples
POWER_FLOOR = torch.finfo(torch.float32).eps  # log -> -15.94
# Of mel filters: how many, sample rate in Hz, size of the FFT, and the range in Hz.
_Filters = Tuple[int, int, int, float, float]

_MAX_READING_HZ = 20_000_000  # a second at more would take minutes


@dataclass(frozen=True)
class LogMel:
    """Network input: normalised log-mel spectrogram, padded or cropped to one length.

    Attributes:
        mean: mean of the log-mel values of the data set (default: AudioSet's).
        std: their standard deviation. Values become (x - mean) / (2 std), whose standard
            deviation is 0.5.
        target_length: frames to return, a multiple of `patch_size`. Longer clips are cut at the
            end. Shorter ones are padded with 0 *before* normalisation, as in the released code:
            padding becomes -mean / (2 std). None keeps the clip's length, rounded up to a
            multiple of `patch_size`.
        num_mel_bins: F, the number of mel bins.
        patch_size: P, the side of a patch of the network.
        sample_rate_hz, low_hz, high_hz, hop_ms, speed: see `RangeConfig`. Window and hop are
            rounded down to samples, as in Kaldi. Where filters are so narrow that no frequency of
            the spectrum is in them, as one of the released 128, their values are that of silence;
            of more than 1 % it is warned.
    """

    mean: float = -4.268
    std: float = 4.569
    target_length: Optional[int] = 1024
    num_mel_bins: int = 128
    patch_size: int = 16
    sample_rate_hz: int = RangeConfig.sample_rate_hz
    low_hz: float = RangeConfig.low_hz
    high_hz: Optional[float] = RangeConfig.high_hz
    hop_ms: float = RangeConfig.hop_ms
    speed: float = RangeConfig.speed

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ValueError(f"mean: found {self.mean}, expected a finite number")
        if not 0 < self.std < math.inf:
            raise ValueError(f"std: found {self.std}, expected a finite number above 0")
        for name in ("num_mel_bins", "patch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        length = self.target_length
        if length is not None and not isinstance(length, int):
            raise ValueError(f"target_length: found {length!r}, expected a whole number")
        if length is not None and (length <= 0 or length % self.patch_size):
            nearest = max(1, round(length / self.patch_size)) * self.patch_size
            raise ValueError(
                f"target_length: found {length}, expected a positive multiple of the patch size"
                f" {self.patch_size} (nearest: {nearest})"
            )
        self._check_rates()

    def _check_rates(self) -> None:
        rate_hz, half_hz = self.sample_rate_hz, self.sample_rate_hz / 2
        if not isinstance(rate_hz, int) or rate_hz < _LOWEST_RATE_HZ:
            raise ValueError(
                f"sample_rate_hz: found {rate_hz!r}, expected a whole number of at least"
                f" {_LOWEST_RATE_HZ}"
            )
        if not 0 <= self.low_hz < self.top_hz <= half_hz:
            raise ValueError(
                f"low_hz, high_hz: found {self.low_hz:g} and {self.top_hz:g}, expected 0 <= low_hz"
                f" < high_hz <= {half_hz:g}, half of sample_rate_hz"
            )
        if not 1000 / rate_hz <= self.hop_ms <= WINDOW_MS:
            raise ValueError(
                f"hop_ms: found {self.hop_ms}, expected at least {1000 / rate_hz:g}, a sample, and"
                f" at most {WINDOW_MS}, a frame: else sound between two frames is in none"
            )
        reading_hz = rate_hz / self.speed if 0 < self.speed < math.inf else math.nan
        if not 1 <= reading_hz <= _MAX_READING_HZ or abs(reading_hz - round(reading_hz)) > 1e-6:
            raise ValueError(
                f"speed: found {self.speed}, expected a number above 0 by which sample_rate_hz"
                f" {rate_hz} gives a whole rate to read recordings at, of at most"
                f" {_MAX_READING_HZ} Hz (found {reading_hz:g})"
            )

    def __call__(self, waveform: Tensor) -> Tensor:
        """(S,) or (B, S) float at `reading_rate_hz`, in [-1, 1] -> (B, 1, T, F) float32.

        B is 1 for a single waveform. The result is on the device of the waveform.
        """
        frames = self.filter_bank(waveform)
        num_patches = max(1, math.ceil(frames.shape[1] / self.patch_size))  # along time
        length = self.target_length or num_patches * self.patch_size
        frames = F.pad(frames[:, :length], (0, 0, 0, length - min(length, frames.shape[1])))
        return frames.sub_(self.mean).div_(2 * self.std).unsqueeze(1)

    @property
    def top_hz(self) -> float:
        """The highest frequency of the mel filters."""
        return self.sample_rate_hz / 2 if self.high_hz is None else self.high_hz

    @property
    def reading_rate_hz(self) -> int:
        """The sample rate at which recordings are read for this front end."""
        return round(self.sample_rate_hz / self.speed)

    @property
    def frame_seconds(self) -> float:
        """From a frame to the next, in seconds of the recording."""
        return self.hop_samples / self.reading_rate_hz

    @property
    def step_seconds(self) -> float:
        """What a row of patches covers, in seconds of the recording."""
        return self.patch_size * self.hop_samples / self.reading_rate_hz

    @property
    def window_samples(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate_hz * WINDOW_MS / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from a frame to the next."""
        return int(self.sample_rate_hz * self.hop_ms / 1000)

    @property
    def max_samples(self) -> Optional[int]:
        """Samples at `reading_rate_hz` that can influence the result; None if all do."""
        return None if self.target_length is None else self.num_samples_for(self.target_length)

    @property
    def heard(self) -> str:
        """What of a recording a row of patches holds, in words."""
        low, high = self.low_hz / self.speed, self.top_hz / self.speed
        return (
            f"{low:g} to {high:g} Hz in patches of {1000 * self.step_seconds:g} ms (recordings read"
            f" at {self.reading_rate_hz} Hz, played at speed {self.speed:g})"
        )

    def other_range(self) -> Dict[str, Any]:
        """Those settings of `RangeConfig` that are not the released ones."""
        own = asdict(self)
        return {key: own[key] for key, value in asdict(RangeConfig()).items() if own[key] != value}

    def num_frames(self, num_samples: int) -> int:
        """Frames of `num_samples` samples: only whole windows count (10 s -> 998)."""
        return max(0, 1 + (num_samples - self.window_samples) // self.hop_samples)

    def num_samples_for(self, frames: int) -> int:
        """Samples that exactly fill `frames` frames; the inverse of `num_frames`."""
        return (frames - 1) * self.hop_samples + self.window_samples

    def filter_bank(self, waveform: Tensor) -> Tensor:
        """Kaldi log-mel filter bank of sound at `reading_rate_hz`, not padded, not normalised.

        (S,) or (B, S) float in [-1, 1], whose mean is subtracted first -> (B, T, F) float32 with
        T = `num_frames(S)`; T is 0 for less than 25 ms. It equals torchaudio's `kaldi.fbank` in the
        released settings within 1e-6 (float32 rounding); the spectrum is the same to the bit.
        Integers and other shapes are a ValueError.
        """
        waveform, size = _as_batch(waveform), self.window_samples
        waveform = waveform - waveform.mean(dim=1, keepdim=True)
        if waveform.shape[1] < size:
            return waveform.new_zeros(waveform.shape[0], 0, self.num_mel_bins)
        frames = waveform.unfold(1, size, self.hop_samples)  # (B, T, window), a view
        rows = frames.reshape(-1, size)  # still a view if B is 1
        bands = _mel_bands(self._filters, rows.device)
        step = _VALUES_AT_ONCE // _fft_size(size) if rows.device.type == "cpu" else len(rows)
        energies = torch.cat([_mel_energies(part, bands) for part in rows.split(max(1, step))])
        return energies.clamp_min_(POWER_FLOOR).log_().reshape(*frames.shape[:2], -1)

    def as_convolutions(self) -> Tuple[Tensor, Tensor]:
        """The filter bank for runtimes without an FFT: kernels of two 1-d convolutions.

        (514, 1, 400), to be moved by `hop_samples`, makes spectra of sound; their squares and
        (F, 514, 1) make the energies whose logarithm `filter_bank` returns. 514 are two for each
        frequency of the spectrum at 16 kHz, 400 are `window_samples`.
        """
        impulses = torch.eye(self.window_samples, dtype=torch.float64)
        filters = self.mel_weights().repeat_interleave(2, dim=0)
        return _spectrum(impulses).T.unsqueeze(1).float(), filters.T.unsqueeze(2)

    def mel_weights(self) -> Tensor:
        """(frequencies of the spectrum, F) triangular filters; a warning if many hold none."""
        return _mel_weights(self._filters)

    @property
    def _filters(self) -> _Filters:
        size = _fft_size(self.window_samples)
        return self.num_mel_bins, self.sample_rate_hz, size, self.low_hz, self.top_hz


def _mel_energies(frames: Tensor, bands: List[Tuple[slice, Tensor]]) -> Tensor:
    """(N, 400) -> (N, F): the power of pre-emphasised, windowed frames in each mel filter."""
    power = _spectrum(frames).square_()  # the filters add real and imaginary part
    return torch.cat([power[:, values] @ weights for values, weights in bands], dim=1)


def _spectrum(frames: Tensor) -> Tensor:
    """(N, 400) -> (N, 514): real and imaginary parts in turns; linear in the samples."""
    size = frames.shape[1]
    padded = F.pad(frames, (0, _fft_size(size) - size))  # a copy; the rest is in place
    inner = padded[:, :size]
    inner -= frames.mean(dim=1, keepdim=True)
    previous = PRE_EMPHASIS * inner[:, :-1]
    inner[:, 1:] -= previous  # the first sample stays: the window is 0 there
    inner *= _window(size, frames.device)
    return torch.view_as_real(torch.fft.rfft(padded)).flatten(1)


def _fft_size(window_samples: int) -> int:
    """The window, rounded up to a power of two."""
    return 1 << (window_samples - 1).bit_length()


def _as_batch(waveform: Tensor) -> Tensor:
    waveform = torch.as_tensor(waveform)
    if not waveform.is_floating_point():
        raise ValueError(
            f"waveform: found {waveform.dtype}, expected float32 samples in [-1, 1]"
            " (divide 16-bit integers by 32768)"
        )
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and len(waveform) == 0):
        raise ValueError(f"waveform: found shape {tuple(waveform.shape)}, expected (S,) or (B, S)")
    return torch.atleast_2d(waveform.float())


@cache
def _window(size: int, device: torch.device) -> Tensor:
    return torch.hann_window(size, periodic=False).to(device)


@cache
def _mel_bands(filters: _Filters, device: torch.device) -> List[Tuple[slice, Tensor]]:
    """The filters in groups of neighbours, without the FFT bins that are 0 in the whole group:
    slices of the real and imaginary values of a spectrum, and weights (values, filters).
    """
    bands = []
    for weights in _mel_weights(filters).split(_FILTERS_AT_ONCE, dim=1):
        used = weights.sum(dim=1).nonzero()
        first, last = (int(used.min()), int(used.max())) if len(used) else (0, 0)
        both = weights[first : last + 1].repeat_interleave(2, dim=0)  # real and imaginary
        bands.append((slice(2 * first, 2 * last + 2), both.to(device)))
    return bands


@cache
def _mel_weights(filters: _Filters) -> Tensor:
    """(257, F) triangular filters, equally spaced on Kaldi's mel scale."""
    num_mel_bins, sample_rate_hz, fft_size, low_hz, high_hz = filters
    low, high = hz_to_mel(low_hz), hz_to_mel(high_hz)
    spacing = (high - low) / (num_mel_bins + 1)
    index = torch.arange(num_mel_bins).unsqueeze(1)
    # Each edge is rounded to float32 separately: the lowest filters hold so little of an FFT bin
    # that another order of additions changes the third digit of their logarithm.
    left, center, right = (low + (index + edge) * spacing for edge in (0.0, 1.0, 2.0))
    fft_hz = sample_rate_hz / fft_size * torch.arange(fft_size // 2)
    mel = (1127.0 * (1.0 + fft_hz / 700.0).log()).unsqueeze(0)  # (1, 256)
    rising, falling = (mel - left) / (center - left), (right - mel) / (right - center)
    triangles = torch.minimum(rising, falling).clamp_min(0.0)
    empty = int((triangles.amax(dim=1) == 0).sum())
    if empty > 0.01 * num_mel_bins:
        logger.warning(
            "low_hz, high_hz: %d of %d mel filters from %g to %g Hz are narrower than the %.3g Hz"
            " between two frequencies of a spectrum, and hold none: their values are always that of"
            " silence; a wider range or fewer model.num_mel_bins avoids it",
            *(empty, num_mel_bins, low_hz, high_hz, sample_rate_hz / fft_size),
        )
    return F.pad(triangles, (0, 1)).T.contiguous()  # Kaldi omits the bin at half the sample rate


def hz_to_mel(hz: float) -> float:
    """Kaldi's mel scale."""
    return 1127.0 * math.log(1.0 + hz / 700.0)
