"""What features are made of: files and arrays, read part by part at 16 kHz."""

import os
from typing import Any, Optional, Union

import numpy as np
import soxr
import torch

from eat.audio import SAMPLE_RATE_HZ, AudioError, read_audio
from eat.audio.checks import check_finite, check_length
from eat.audio.opening import AudioPath, open_sound
from eat.audio.read import info_of


class FileRecording:
    """An audio file, or clip in a pack, of which parts are read when they are needed.

    Args:
        path, hdf5_rate_hz: see `read_audio`.

    Attributes:
        name: what messages call it.
        num_samples: S, its length at 16 kHz by its header.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file is no audio, cut off, or shorter than one frame.
    """

    def __init__(self, path: AudioPath, hdf5_rate_hz: Optional[int] = None) -> None:
        self.name = os.fspath(path)
        self._hdf5_rate_hz = hdf5_rate_hz
        with open_sound(path, hdf5_rate_hz) as sound:
            info = info_of(sound, path)
        # Rounded as soxr does it.
        doubled = 2 * info.num_samples * SAMPLE_RATE_HZ + info.sample_rate_hz
        self.num_samples = doubled // (2 * info.sample_rate_hz)
        check_length(self.num_samples, self.name)

    def read(self, offset_samples: int, num_samples: int) -> np.ndarray:
        """(num_samples,) float32 at 16 kHz.

        Raises:
            FileNotFoundError, AudioError: as for the whole; also when the file holds less sound
                than its header says, or samples that are not finite.
        """
        samples = read_audio(
            self.name,
            offset_samples=offset_samples,
            num_samples=num_samples,
            hdf5_rate_hz=self._hdf5_rate_hz,
        )
        if len(samples) != num_samples:
            raise AudioError(
                f"{self.name}: cut off: found {offset_samples + len(samples)} samples at 16 kHz,"
                f" expected {self.num_samples} by its header"
            )
        check_finite(samples, self.name)
        return samples


class ArrayRecording:
    """Samples in memory, with the attributes and the `read` of a `FileRecording`.

    Args:
        samples: (S,) float in [-1, 1], an array or a tensor of any device and dtype.
        sample_rate_hz: their rate.
        name: what messages call them.

    Raises:
        ValueError: another shape, no floating point numbers, or shorter than one frame.
    """

    def __init__(self, samples: Any, sample_rate_hz: int, name: str) -> None:
        if isinstance(samples, torch.Tensor):
            samples = samples.detach().cpu()
            samples = samples.float() if samples.dtype == torch.bfloat16 else samples
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"{name}: found {samples.dtype} of shape {samples.shape}, expected a path or"
                " (S,) float samples in [-1, 1], mono"
            )
        samples = samples.astype(np.float32, copy=False)
        if sample_rate_hz != SAMPLE_RATE_HZ:
            samples = soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)
        self.name = name
        self.num_samples = len(samples)
        self._samples = samples
        check_length(self.num_samples, self.name)

    def read(self, offset_samples: int, num_samples: int) -> np.ndarray:
        """(num_samples,) float32 at 16 kHz; an AudioError if some are not finite."""
        # Copied, as torch wants neither read-only arrays nor reversed ones.
        samples = np.array(self._samples[offset_samples : offset_samples + num_samples])
        check_finite(samples, self.name)
        return samples


Recording = Union[FileRecording, ArrayRecording]


def open_recording(
    audio: Any, sample_rate_hz: int, name: str, hdf5_rate_hz: Optional[int] = None
) -> Recording:
    """The recording behind a path or an array, see the classes."""
    if isinstance(audio, (str, os.PathLike)):
        return FileRecording(audio, hdf5_rate_hz)
    return ArrayRecording(audio, sample_rate_hz, name)
