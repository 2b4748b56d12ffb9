"""Decode audio to mono float32 at one sample rate."""

import math
import os
import sys
from dataclasses import dataclass
from typing import NamedTuple, Optional, Tuple

import numpy as np
import soxr

from eat.settings import setting

from . import SAMPLE_RATE_HZ, AudioError
from .opening import FULL_SCALE, AudioPath, Sound, SoundFile, open_sound, read_chunks

# Decoded beyond each end of a part and cut off again after resampling, so that the resampling
# filter sees the same neighbourhood as in the whole file. Half the filter is shorter than 100
# samples of the lower of the two rates.
_MARGIN_SAMPLES = 160
# Decoded before a part of an mp3: its frames borrow bytes of up to 511 from those before them.
# 4 frames were enough in all files tried; the smallest that a voice needs would take 14.
_MP3_LEAD_FRAMES = 16 * 1152
CROPS = ("start", "random")


@dataclass
class ReadingConfig:
    """How the clips of a data set are read."""

    crop: str = setting(
        "what is read of clips longer than target_length: start, or random, another part in every"
        " epoch; validation always reads the start (released: start)",
        "start",
    )
    hdf5_rate_hz: Optional[int] = setting(
        "sample rate of clips in HDF5 packs that have no attribute sample_rate (released: 32000)",
        None,
    )

    def check(self) -> None:
        """Raise a ValueError for impossible values."""
        if self.crop not in CROPS:
            raise ValueError(f"task.crop: found {self.crop!r}, expected one of {CROPS}")
        if self.hdf5_rate_hz is not None and self.hdf5_rate_hz < 1:
            raise ValueError(
                f"task.hdf5_rate_hz: found {self.hdf5_rate_hz}, expected 1 or more, or null"
            )


class AudioInfo(NamedTuple):
    """What a file's header says; `num_samples` is per channel at the file's own rate."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int

    @property
    def duration_seconds(self) -> float:
        return self.num_samples / self.sample_rate_hz


def audio_info(path: AudioPath, hdf5_rate_hz: Optional[int] = None) -> AudioInfo:
    """Read the header of a file, see `read_audio`; a file whose header has no length is decoded."""
    with open_sound(path, hdf5_rate_hz) as sound:
        if sound.part is not None:
            num_samples = sound.part[1]
        else:
            num_samples = sound.frames if sound.has_length else sum(map(len, read_chunks(sound)))
        return AudioInfo(num_samples, sound.samplerate, sound.channels)


def read_audio(
    path: AudioPath,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    offset_samples: int = 0,
    num_samples: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
) -> np.ndarray:
    """Decode a file to mono float32 in [-1, 1] at `sample_rate_hz`.

    Channels are averaged. Only the requested part is decoded: the first ten seconds of an
    hour-long recording cost ten seconds.

    Args:
        path: anything libsndfile reads (wav, flac, ogg, mp3, ...), at any rate; or the address of
            a clip in a pack, `pack.zip:offset:length` or `pack.h5/key`; or of a part of a file in
            seconds, `dawn.flac/12.5-15.25`, which is a slice of what the whole file gives.
        sample_rate_hz: rate of the returned samples; `offset_samples` and `num_samples` count at
            this rate.
        offset_samples: where to start.
        num_samples: how many samples to return at most; None reads to the end.
        hdf5_rate_hz: rate of HDF5 data that has no attribute `sample_rate`.

    Returns:
        (S,) float32.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file cannot be decoded, holds no samples, or ends before the offset; the
            part is empty or reaches beyond the file.
        ValueError: the rate is below 1, or the offset or number of samples below 0.
    """
    if sample_rate_hz < 1:
        raise ValueError(f"sample_rate_hz: found {sample_rate_hz}, expected 1 or more")
    if offset_samples < 0:
        raise ValueError(f"offset_samples: found {offset_samples}, expected 0 or more")
    if num_samples is not None and num_samples < 0:
        raise ValueError(f"num_samples: found {num_samples}, expected 0 or more, or None")
    with open_sound(path, hdf5_rate_hz) as sound:
        return _decode(sound, path, sample_rate_hz, offset_samples, num_samples)


def read_part(
    path: AudioPath,
    num_samples: int,
    place: float,
    max_frames: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> Tuple[np.ndarray, int]:
    """Decode a part of a file as `read_audio` does, (S,); all of a shorter file.

    Also returns the sample that it starts with. `place` is 0 for the first part and just below 1
    for the last. `max_frames` is the length of the file at its own rate by the manifest, for files
    whose header does not tell it.
    """
    with open_sound(path, hdf5_rate_hz) as sound:
        frames = sound.part[1] if sound.part else sound.frames
        frames = frames if max_frames is None else min(frames, max_frames)
        total = frames * sample_rate_hz // sound.samplerate
        offset = int(place * max(1, total - num_samples + 1))
        return _decode(sound, path, sample_rate_hz, offset, num_samples), offset


def _decode(
    sound: Sound, path: AudioPath, rate_hz: int, offset_samples: int, num_samples: Optional[int]
) -> np.ndarray:
    native_hz = sound.samplerate
    asked_for = offset_samples
    if sound.part is not None:
        first, length = sound.part
        length = (2 * length * rate_hz + native_hz) // (2 * native_hz)  # rounded as soxr does it
        length = max(0, length - offset_samples)
        num_samples = length if num_samples is None else min(num_samples, length)
        offset_samples += first * rate_hz // native_hz
    is_resampled = native_hz != rate_hz
    margin = math.ceil(_MARGIN_SAMPLES * max(1, native_hz / rate_hz)) if is_resampled else 0
    # Start on a native sample that coincides with a sample of the target rate; the wanted part
    # then begins a whole number of target samples later.
    step = native_hz // math.gcd(native_hz, rate_hz)
    start = offset_samples * native_hz // rate_hz
    start -= max(margin, _MP3_LEAD_FRAMES if sound.format == "MP3" else 0)
    start = max(0, start // step * step)
    lead = offset_samples - start * rate_hz // native_hz
    count = sound.frames - start if sound.has_length else sys.maxsize
    stop = None
    if num_samples is not None:
        stop = lead + num_samples
        end = -(-(offset_samples + num_samples) * native_hz // rate_hz) + margin
        count = min(count, end - start)
    if start > 0:
        sound.go_to(start)
    mono = _read_mono(sound, count)
    if is_resampled and mono.size > 0:
        mono = soxr.resample(mono, native_hz, rate_hz)
    mono = mono[lead:stop]
    if mono.size == 0:
        raise AudioError(f"{os.fspath(path)}: no samples after offset {asked_for}")
    if sound.part is not None and mono.size < num_samples:
        raise AudioError(
            f"{os.fspath(path)}: found {mono.size} samples at {rate_hz} Hz, expected {num_samples}:"
            " the part reaches beyond the file"
        )
    return np.ascontiguousarray(mono, dtype=np.float32)


def _read_mono(sound: Sound, num_frames: int) -> np.ndarray:
    """(n,) float32, the mean of the channels of at most `num_frames` frames."""
    dtype = quick_dtype(sound)
    chunks = list(read_chunks(sound, num_frames, dtype))
    if len(chunks) == 1:  # joining it would copy it
        return mix_channels(chunks[0])
    return mix_channels(np.concatenate([np.empty((0, sound.channels), dtype), *chunks]))


def quick_dtype(sound: Sound) -> str:
    """What to read samples as: libsndfile takes twice as long as numpy to make floats of int16."""
    is_pcm = isinstance(sound, SoundFile) and sound.format != "FLAC" and sound.subtype == "PCM_16"
    return "int16" if is_pcm else "float32"


def mix_channels(samples: np.ndarray) -> np.ndarray:
    """(n, channels) of integers or float -> (n,) float32, their mean in [-1, 1]."""
    # A sum of columns: along so short an axis numpy's own mean takes 20 times as long.
    first, *others = samples.T
    total = sum(others, start=first.astype(np.float32, copy=False))
    divisor = FULL_SCALE[samples.dtype.name] * samples.shape[1]
    return total if divisor == 1 else total / np.float32(divisor)
