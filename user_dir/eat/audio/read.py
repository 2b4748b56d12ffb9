"""Decode audio files to mono float32 at one sample rate."""

import math
import os
import sys
from typing import Iterator, NamedTuple, Optional

import numpy as np
import soundfile
import soxr

from .errors import AudioError
from .hdf5 import FULL_SCALE
from .opening import AudioPath, Sound, SoundFile, open_sound, reason_of

SAMPLE_RATE_HZ = 16_000

# Decoded beyond each end of a partial read and cut off again after resampling, so that the
# resampling filter sees the same neighbourhood as in a read of the whole file.
_MARGIN_MS = 50

# Decoded before a part of an mp3: its frames borrow bytes of up to 511 from those before them.
# 4 frames were enough in all files tried; the smallest that a voice needs would take 14.
_MP3_LEAD_FRAMES = 16 * 1152

_CHUNK_FRAMES = 1 << 20


class AudioInfo(NamedTuple):
    """What a file's header says of it; `num_samples` is per channel at the file's own rate."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int

    @property
    def duration_seconds(self) -> float:
        return self.num_samples / self.sample_rate_hz


def audio_info(path: AudioPath, hdf5_rate_hz: Optional[int] = None) -> AudioInfo:
    """Read a file's header, without decoding it.

    Only an mp3 whose header does not tell its length is decoded to count its samples.

    Args:
        path: as in `read_audio`.
        hdf5_rate_hz: likewise.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: libsndfile does not recognise the file.
    """
    with open_sound(path, hdf5_rate_hz) as sound:
        return info_of(sound, path)


def info_of(sound: Sound, path: AudioPath) -> AudioInfo:
    """What `audio_info` tells, of a file that was just opened."""
    num_samples = sound.frames
    if isinstance(sound, SoundFile) and not sound.has_length:
        num_samples = sum(map(len, read_chunks(sound, path)))
    return AudioInfo(num_samples, sound.samplerate, sound.channels)


def read_audio(
    path: AudioPath,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    offset_samples: int = 0,
    num_samples: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
) -> np.ndarray:
    """Decode a file to mono float32 in [-1, 1] at `sample_rate_hz`.

    Channels are averaged. Only the part that is asked for is decoded, so that the first ten
    seconds of an hour-long recording cost ten seconds.

    Args:
        path: anything libsndfile reads (wav, flac, ogg, mp3, ...), at any rate; or the address of
            a clip in a pack, `pack.zip:offset:length` or `pack.h5/key`.
        sample_rate_hz: rate of the returned samples.
        offset_samples: where to start, counted at `sample_rate_hz`.
        num_samples: how many samples to return at most, counted at `sample_rate_hz`; the file
            may end earlier. None reads to the end.
        hdf5_rate_hz: rate of HDF5 data that has no attribute `sample_rate`.

    Returns:
        (S,) float32.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file cannot be decoded, holds no samples, or ends before the offset.
        ValueError: a rate, offset or number of samples that is impossible.
    """
    _check_request(sample_rate_hz, offset_samples, num_samples)
    with open_sound(path, hdf5_rate_hz) as sound:
        return _decode(sound, path, sample_rate_hz, offset_samples, num_samples)


def _check_request(sample_rate_hz: int, offset_samples: int, num_samples: Optional[int]) -> None:
    if sample_rate_hz < 1:
        raise ValueError(f"sample_rate_hz: found {sample_rate_hz}, expected 1 or more")
    if offset_samples < 0:
        raise ValueError(f"offset_samples: found {offset_samples}, expected 0 or more")
    if num_samples is not None and num_samples < 0:
        raise ValueError(f"num_samples: found {num_samples}, expected 0 or more, or None")


def read_part(
    path: AudioPath,
    num_samples: int,
    place: float,
    max_frames: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
) -> np.ndarray:
    """Decode a part of a file to mono float32 at 16 kHz; all of it if it is no longer than that.

    Args:
        path, hdf5_rate_hz: as in `read_audio`.
        num_samples: length of the part, counted at 16 kHz.
        place: from 0, the start, to below 1, the last part.
        max_frames: the length of the file at its own rate as a manifest has it, for those that do
            not tell it.

    Returns:
        (S,) float32.

    Raises:
        FileNotFoundError, AudioError: as `read_audio` does.
    """
    with open_sound(path, hdf5_rate_hz) as sound:
        frames = sound.frames if max_frames is None else min(sound.frames, max_frames)
        total = frames * SAMPLE_RATE_HZ // sound.samplerate
        offset = int(place * max(1, total - num_samples + 1))
        return _decode(sound, path, SAMPLE_RATE_HZ, offset, num_samples)


def _decode(
    sound: Sound,
    path: AudioPath,
    sample_rate_hz: int,
    offset_samples: int,
    num_samples: Optional[int],
) -> np.ndarray:
    native_hz = sound.samplerate
    margin = 0 if native_hz == sample_rate_hz else native_hz * _MARGIN_MS // 1000
    # Start on a native sample that coincides with a sample of the target rate; the offset of
    # the wanted part within what is read is then a whole number of target samples.
    step = native_hz // math.gcd(native_hz, sample_rate_hz)
    start = offset_samples * native_hz // sample_rate_hz
    start -= max(margin, _MP3_LEAD_FRAMES if sound.format == "MP3" else 0)
    start = max(0, start // step * step)
    lead = offset_samples - start * sample_rate_hz // native_hz
    count = None
    if num_samples is not None:
        end = -(-(offset_samples + num_samples) * native_hz // sample_rate_hz) + margin
        count = end - start
    try:
        if start > 0:
            _go_to(sound, min(start, sound.frames))
        samples = _read_frames(sound, count)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{os.fspath(path)}: cannot decode: {reason_of(error)}") from error
    mono = _mix_channels(samples)
    if native_hz != sample_rate_hz and mono.size > 0:
        mono = soxr.resample(mono, native_hz, sample_rate_hz)
    mono = mono[lead : None if num_samples is None else lead + num_samples]
    if mono.size == 0:
        raise AudioError(f"{os.fspath(path)}: no samples after offset {offset_samples}")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _go_to(sound: Sound, frame: int) -> None:
    """Go on from a frame, to which all is decoded where it cannot be sought."""
    if not isinstance(sound, SoundFile) or sound.can_seek:
        sound.seek(frame)
        return
    while frame > 0:
        num_read = len(sound.read(min(frame, _CHUNK_FRAMES), dtype="int16"))
        if num_read == 0:
            return
        frame -= num_read


def _mix_channels(samples: np.ndarray) -> np.ndarray:
    """(n, channels) -> (n,) float32, their mean.

    As a sum of columns: along so short an axis numpy's own mean takes 20 times as long.
    """
    first, *others = samples.T
    total = sum(others, start=first.astype(np.float32, copy=False))
    divisor = FULL_SCALE[samples.dtype.name] * samples.shape[1]
    return total if divisor == 1 else total / np.float32(divisor)


def _read_frames(sound: Sound, count: Optional[int]) -> np.ndarray:
    """(n, channels), at most `count` frames; in chunks, as a header may promise any number."""
    chunks = []
    dtype = _fastest_dtype(sound)
    remaining = sys.maxsize if count is None else count
    while remaining > 0:
        chunk = sound.read(min(remaining, _CHUNK_FRAMES), dtype=dtype, always_2d=True)
        if len(chunk) == 0:
            break
        chunks.append(chunk)
        remaining -= len(chunk)
    if len(chunks) == 1:  # joining would copy it
        return chunks[0]
    return np.concatenate([np.empty((0, sound.channels), dtype), *chunks])


def _fastest_dtype(sound: Sound) -> str:
    """What samples are read as; libsndfile takes twice as long as numpy to make floats of them."""
    uncompressed = isinstance(sound, SoundFile) and sound.format != "FLAC"
    return "int16" if uncompressed and sound.subtype == "PCM_16" else "float32"


def read_chunks(sound: Sound, path: AudioPath) -> Iterator[np.ndarray]:
    """Yield all that can be read from here on, (n, channels) float32 at a time."""
    try:
        while True:
            chunk = sound.read(_CHUNK_FRAMES, dtype="float32", always_2d=True)
            if len(chunk) == 0:
                return
            yield chunk
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{os.fspath(path)}: cannot decode: {reason_of(error)}") from error
