"""Check that samples can be used: those of one array, or all of a file."""

import os
import re
import sys
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from . import SAMPLE_RATE_HZ, AudioError
from .log_mel import WINDOW_SAMPLES
from .opening import AudioPath, Sound, open_sound, read_chunks

_MIN_REST = 1024  # bytes; sloppy headers of good files
# Text that begins a chunk or tag behind the sound, and does not begin another audio file.
_OTHER_CHUNK = re.compile(rb"(?!RIFF|RF64|FORM|caff|OggS|fLaC|\.snd)[ -~]{4}")
_MAX_AMPLITUDE = 1e15  # from about 1e16 on, the power of a spectrum is infinite in float32


def check_length(num_samples: int, name: str) -> None:
    """Raise an AudioError for a clip at 16 kHz that is shorter than one frame (25 ms)."""
    if num_samples < WINDOW_SAMPLES:
        raise AudioError(
            f"{name}: found {num_samples} samples at 16 kHz, expected at least"
            f" {WINDOW_SAMPLES} (25 ms)"
        )


def check_finite(samples: np.ndarray, name: str) -> None:
    """Raise an AudioError for NaN or infinite samples, or so large ones that their power is."""
    if samples.size == 0:
        return
    low, high = float(samples.min()), float(samples.max())  # NaN if any sample is NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise AudioError(f"{name}: found NaN or infinite samples")
    if max(-low, high) > _MAX_AMPLITUDE:
        raise AudioError(f"{name}: found samples up to {max(-low, high):.2g}, expected [-1, 1]")


class AudioScan(NamedTuple):
    """What a file holds; `num_samples` is per channel at the file's own rate."""

    num_samples: int
    sample_rate_hz: int
    is_silent: bool  # every sample has the same value
    notes: Tuple[str, ...] = ()  # what else is odd; the file can be used nevertheless


def scan_audio(path: AudioPath, hdf5_rate_hz: Optional[int] = None) -> AudioScan:
    """Decode a file from start to end, in chunks, so that any length fits in memory.

    Args:
        path, hdf5_rate_hz: as in `read_audio`.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file cannot be decoded, is cut off, is shorter than one frame of a
            spectrogram (25 ms), or holds NaN or infinite samples.
    """
    name = os.fspath(path)
    num_samples, low, high = 0, float("inf"), float("-inf")
    with open_sound(path, hdf5_rate_hz) as sound:
        for chunk in read_chunks(sound, sound.frames if sound.has_length else sys.maxsize):
            check_finite(chunk, name)
            num_samples += len(chunk)
            low, high = min(low, chunk.min()), max(high, chunk.max())
        promised = sound.frames if sound.has_length else num_samples
        rate_hz = sound.samplerate
        notes = _notes_on_rest(sound, num_samples)
    if num_samples < promised:
        raise AudioError(
            f"{name}: cut off: found {num_samples} samples, expected {promised} by its header"
        )
    check_length(num_samples * SAMPLE_RATE_HZ // rate_hz, name)
    return AudioScan(num_samples, rate_hz, bool(low == high), tuple(notes))


def _notes_on_rest(sound: Sound, num_samples: int) -> List[str]:
    """Say when a file goes on after the samples that its header tells of."""
    rest = sound.next_bytes().strip(b"\0")
    if len(rest) < _MIN_REST or _OTHER_CHUNK.match(rest):
        return []
    return [
        f"the file holds more than its header says: what follows sample {num_samples} is not read"
        " (files joined into one?)"
    ]
