"""The filter bank: waveform to normalised log-mel spectrogram.

Kaldi's log-mel filter bank with the settings of the released code (25 ms Hann window, 10 ms hop,
128 bins from 20 Hz to 8 kHz, pre-emphasis 0.97, power spectrum, natural logarithm) in plain torch:
frames are a strided view, then come one real FFT and one matrix product.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 400  # 25 ms at 16 kHz
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 512  # the window, rounded up to a power of two
LOW_HZ = 20.0
HIGH_HZ = SAMPLE_RATE_HZ / 2
PRE_EMPHASIS = 0.97
_FRAMES_AT_ONCE = 512  # on a CPU, so that all steps stay in its caches
_FILTERS_AT_ONCE = 16  # 16 neighbouring triangles cover an eighth of the spectrum
POWER_FLOOR = torch.finfo(torch.float32).eps  # log -> -15.94


def num_frames(num_samples: int) -> int:
    """Frames of `num_samples` samples at 16 kHz: only whole windows count (10 s -> 998)."""
    return max(0, 1 + (num_samples - WINDOW_SAMPLES) // HOP_SAMPLES)


def num_samples_for(frames: int) -> int:
    """Samples that exactly fill `frames` frames; the inverse of `num_frames`."""
    return (frames - 1) * HOP_SAMPLES + WINDOW_SAMPLES


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
    """

    mean: float = -4.268
    std: float = 4.569
    target_length: Optional[int] = 1024
    num_mel_bins: int = 128
    patch_size: int = 16

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ValueError(f"mean: found {self.mean}, expected a finite number")
        if not 0 < self.std < math.inf:
            raise ValueError(f"std: found {self.std}, expected a finite number above 0")
        length = self.target_length
        if length is not None and not isinstance(length, int):
            raise ValueError(f"target_length: found {length!r}, expected a whole number")
        if length is not None and (length <= 0 or length % self.patch_size):
            nearest = max(1, round(length / self.patch_size)) * self.patch_size
            raise ValueError(
                f"target_length: found {length}, expected a positive multiple of the patch size"
                f" {self.patch_size} (nearest: {nearest})"
            )

    def __call__(self, waveform: Tensor) -> Tensor:
        """(S,) or (B, S) float at 16 kHz, in [-1, 1] -> (B, 1, T, F) float32 on the same device.

        B is 1 for a single waveform.
        """
        frames = mel_filter_bank(waveform, self.num_mel_bins)
        num_patches = max(1, math.ceil(frames.shape[1] / self.patch_size))  # along time
        length = self.target_length or num_patches * self.patch_size
        frames = F.pad(frames[:, :length], (0, 0, 0, length - min(length, frames.shape[1])))
        return frames.sub_(self.mean).div_(2 * self.std).unsqueeze(1)

    @property
    def reading_rate_hz(self) -> int:
        """The sample rate at which recordings are read for this front end."""
        return SAMPLE_RATE_HZ

    @property
    def step_seconds(self) -> float:
        """What a row of patches covers, in seconds of the recording."""
        return self.patch_size * HOP_SAMPLES / self.reading_rate_hz

    @property
    def max_samples(self) -> Optional[int]:
        """Samples at 16 kHz that can influence the result; None if all do."""
        return None if self.target_length is None else num_samples_for(self.target_length)


def mel_filter_bank(waveform: Tensor, num_mel_bins: int = 128) -> Tensor:
    """Kaldi log-mel filter bank of 16 kHz sound, not padded and not normalised.

    (S,) or (B, S) float in [-1, 1], whose mean is subtracted first -> (B, T, F) float32 with
    T = 1 + (S - 400) // 160; T is 0 below 400 samples. It equals torchaudio's `kaldi.fbank` in the
    released settings within 1e-6 (float32 rounding); the spectrum is the same to the
    bit. Integers and other shapes are a ValueError.
    """
    waveform = _as_batch(waveform)
    waveform = waveform - waveform.mean(dim=1, keepdim=True)
    if waveform.shape[1] < WINDOW_SAMPLES:
        return waveform.new_zeros(waveform.shape[0], 0, num_mel_bins)
    frames = waveform.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)  # (B, T, 400), a view
    rows = frames.reshape(-1, WINDOW_SAMPLES)  # still a view if B is 1
    step = _FRAMES_AT_ONCE if rows.device.type == "cpu" else len(rows)
    energies = torch.cat([_mel_energies(part, num_mel_bins) for part in rows.split(step)])
    return energies.clamp_min_(POWER_FLOOR).log_().reshape(*frames.shape[:2], num_mel_bins)


def _mel_energies(frames: Tensor, num_mel_bins: int) -> Tensor:
    """(N, 400) -> (N, F): the power of pre-emphasised, windowed frames in each mel filter."""
    power = _spectrum(frames).square_()  # the filters add real and imaginary part
    bands = _mel_bands(num_mel_bins, frames.device)
    return torch.cat([power[:, values] @ weights for values, weights in bands], dim=1)


def _spectrum(frames: Tensor) -> Tensor:
    """(N, 400) -> (N, 514): real and imaginary parts in turns; linear in the samples."""
    padded = F.pad(frames, (0, FFT_SAMPLES - WINDOW_SAMPLES))  # a copy; the rest is in place
    inner = padded[:, :WINDOW_SAMPLES]
    inner -= frames.mean(dim=1, keepdim=True)
    previous = PRE_EMPHASIS * inner[:, :-1]
    inner[:, 1:] -= previous  # the first sample stays: the window is 0 there
    inner *= _window(frames.device)
    return torch.view_as_real(torch.fft.rfft(padded)).flatten(1)


def as_convolutions(num_mel_bins: int) -> Tuple[Tensor, Tensor]:
    """The filter bank for runtimes without an FFT: kernels of two 1-d convolutions.

    (514, 1, 400), to be moved by HOP_SAMPLES, makes spectra of sound; their squares and
    (F, 514, 1) make the energies whose logarithm `mel_filter_bank` returns.
    """
    impulses = torch.eye(WINDOW_SAMPLES, dtype=torch.float64)
    filters = mel_weights(num_mel_bins).repeat_interleave(2, dim=0)
    return _spectrum(impulses).T.unsqueeze(1).float(), filters.T.unsqueeze(2)


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
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(WINDOW_SAMPLES, periodic=False).to(device)


@cache
def _mel_bands(num_mel_bins: int, device: torch.device) -> List[Tuple[slice, Tensor]]:
    """The filters in groups of neighbours, without the FFT bins that are 0 in the whole group:
    slices of the real and imaginary values of a spectrum, and weights (values, filters).
    """
    bands = []
    for weights in mel_weights(num_mel_bins).split(_FILTERS_AT_ONCE, dim=1):
        used = weights.sum(dim=1).nonzero()
        first, last = (int(used.min()), int(used.max())) if len(used) else (0, 0)
        both = weights[first : last + 1].repeat_interleave(2, dim=0)  # real and imaginary
        bands.append((slice(2 * first, 2 * last + 2), both.to(device)))
    return bands


def mel_weights(num_mel_bins: int) -> Tensor:
    """(257, F) triangular filters, equally spaced on Kaldi's mel scale."""
    low, high = hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ)
    spacing = (high - low) / (num_mel_bins + 1)
    index = torch.arange(num_mel_bins).unsqueeze(1)
    # Each edge is rounded to float32 separately: the lowest filters hold so little of an FFT bin
    # that another order of additions changes the third digit of their logarithm.
    left, center, right = (low + (index + edge) * spacing for edge in (0.0, 1.0, 2.0))
    fft_hz = SAMPLE_RATE_HZ / FFT_SAMPLES * torch.arange(FFT_SAMPLES // 2)
    mel = (1127.0 * (1.0 + fft_hz / 700.0).log()).unsqueeze(0)  # (1, 256)
    rising, falling = (mel - left) / (center - left), (right - mel) / (right - center)
    triangles = torch.minimum(rising, falling).clamp_min(0.0)
    return F.pad(triangles, (0, 1)).T.contiguous()  # Kaldi omits the bin at half the sample rate


def hz_to_mel(hz: float) -> float:
    """Kaldi's mel scale."""
    return 1127.0 * math.log(1.0 + hz / 700.0)
