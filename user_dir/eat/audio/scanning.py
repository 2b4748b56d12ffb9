"""Decode all of a file and see what is in it."""

import os
from typing import NamedTuple, Optional

from .checks import check_finite, check_length
from .errors import AudioError
from .opening import AudioPath, open_sound
from .read import SAMPLE_RATE_HZ, read_chunks


class AudioScan(NamedTuple):
    """What a file holds; `num_samples` is per channel at the file's own rate."""

    num_samples: int
    sample_rate_hz: int
    is_silent: bool  # every sample has the same value


def scan_audio(path: AudioPath, hdf5_rate_hz: Optional[int] = None) -> AudioScan:
    """Decode a file from its start to its end, in parts, so that its length does not matter.

    Args:
        path, hdf5_rate_hz: as in `read_audio`.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file cannot be decoded, is cut off, shorter than one frame of a
            spectrogram (25 ms), or holds samples that are no numbers.
    """
    name = os.fspath(path)
    num_samples, low, high = 0, float("inf"), float("-inf")
    with open_sound(path, hdf5_rate_hz) as sound:
        for chunk in read_chunks(sound, path):
            check_finite(chunk, name)
            num_samples += len(chunk)
            low, high = min(low, chunk.min()), max(high, chunk.max())
        promised = sound.frames if getattr(sound, "has_length", True) else num_samples
        rate_hz = sound.samplerate
    if num_samples < promised:
        raise AudioError(
            f"{name}: cut off: found {num_samples} samples, expected {promised} by its header"
        )
    check_length(num_samples * SAMPLE_RATE_HZ // rate_hz, name)
    return AudioScan(num_samples, rate_hz, bool(low == high))
