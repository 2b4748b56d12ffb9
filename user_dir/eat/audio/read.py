"""Decode audio files to mono float32 at one sample rate."""

import math
import os
import sys
from typing import NamedTuple, Optional, Union

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 16_000

# Decoded beyond each end of a partial read and cut off again after resampling, so that the
# resampling filter sees the same neighbourhood as in a read of the whole file.
_MARGIN_MS = 50

_CHUNK_FRAMES = 1 << 20
_UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's; it cannot read such a stream to its end

AudioPath = Union[str, "os.PathLike[str]"]


class AudioError(ValueError):
    """A file that cannot be decoded; the message names the file and the reason."""


class AudioInfo(NamedTuple):
    """What a file's header says of it; `num_samples` is per channel at the file's own rate."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int

    @property
    def duration_seconds(self) -> float:
        return self.num_samples / self.sample_rate_hz


def audio_info(path: AudioPath) -> AudioInfo:
    """Read a file's header, without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: libsndfile does not recognise the file.
    """
    with _open(path) as file:
        return AudioInfo(file.frames, file.samplerate, file.channels)


def read_audio(
    path: AudioPath,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    offset_samples: int = 0,
    num_samples: Optional[int] = None,
) -> np.ndarray:
    """Decode a file to mono float32 in [-1, 1] at `sample_rate_hz`.

    Channels are averaged. Only the part that is asked for is decoded, so that the first ten
    seconds of an hour-long recording cost ten seconds.

    Args:
        path: anything libsndfile reads (wav, flac, ogg, mp3, ...), at any rate.
        sample_rate_hz: rate of the returned samples.
        offset_samples: where to start, counted at `sample_rate_hz`.
        num_samples: how many samples to return at most, counted at `sample_rate_hz`; the file
            may end earlier. None reads to the end.

    Returns:
        (S,) float32.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file cannot be decoded, holds no samples, or ends before the offset.
    """
    with _open(path) as file:
        samples = _read_part(file, path, sample_rate_hz, offset_samples, num_samples)
    if samples.size == 0:
        raise AudioError(f"{os.fspath(path)}: no samples after offset {offset_samples}")
    return samples


def _read_part(
    file: soundfile.SoundFile,
    path: AudioPath,
    sample_rate_hz: int,
    offset_samples: int,
    num_samples: Optional[int],
) -> np.ndarray:
    native_hz = file.samplerate
    margin = 0 if native_hz == sample_rate_hz else native_hz * _MARGIN_MS // 1000
    # Start on a native sample that coincides with a sample of the target rate; the offset of
    # the wanted part within what is read is then a whole number of target samples.
    step = native_hz // math.gcd(native_hz, sample_rate_hz)
    start = offset_samples * native_hz // sample_rate_hz - margin
    start = max(0, start // step * step)
    lead = offset_samples - start * sample_rate_hz // native_hz
    count = None
    if num_samples is not None:
        end = -(-(offset_samples + num_samples) * native_hz // sample_rate_hz) + margin
        count = end - start
    try:
        if start > 0:
            file.seek(min(start, file.frames))
        samples = _read_frames(file, count)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{os.fspath(path)}: cannot decode: {error}") from error
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if native_hz != sample_rate_hz and mono.size > 0:
        mono = soxr.resample(mono, native_hz, sample_rate_hz)
    end = None if num_samples is None else lead + num_samples
    return np.ascontiguousarray(mono[lead:end], dtype=np.float32)


def _read_frames(file: soundfile.SoundFile, count: Optional[int]) -> np.ndarray:
    """(n, channels), at most `count` frames; in chunks, as a header may promise any number."""
    chunks = []
    remaining = sys.maxsize if count is None else count
    while remaining > 0:
        chunk = file.read(min(remaining, _CHUNK_FRAMES), dtype="float32", always_2d=True)
        chunks.append(chunk)
        remaining -= len(chunk)
        if len(chunk) == 0:
            break
    return np.concatenate(chunks) if len(chunks) != 1 else chunks[0]


def _open(path: AudioPath) -> soundfile.SoundFile:
    try:
        file = soundfile.SoundFile(os.fspath(path))
    except soundfile.LibsndfileError as error:
        if not os.path.exists(path):
            raise FileNotFoundError(f"no such audio file: {os.fspath(path)}") from error
        raise AudioError(f"{os.fspath(path)}: not readable as audio: {error}") from error
    if file.frames == _UNKNOWN_FRAMES:
        file.close()
        raise AudioError(
            f"{os.fspath(path)}: found a stream of unknown length, expected a finished file"
            " (re-encode it)"
        )
    return file
