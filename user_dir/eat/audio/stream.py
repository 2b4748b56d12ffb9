"""Sound that comes bit by bit, through a pipe for example: 16-bit PCM, raw or as WAV."""

import math
import struct
from typing import BinaryIO, Iterator, Optional, Tuple

import numpy as np
import soxr

from . import AudioError
from .opening import UNKNOWN_BYTES
from .read import mix_channels

_BYTES_AT_ONCE = 1 << 15  # at most: what is there is taken at once
_PCM, _EXTENSIBLE = 1, 0xFFFE
_BYTES_PER_SAMPLE = 2


def read_stream(
    file: BinaryIO, target_hz: int, rate_hz: Optional[int] = None, name: str = "stdin"
) -> Iterator[np.ndarray]:
    """Yield the samples of a stream as they come, (S,) mono float32 in [-1, 1] at `target_hz`.

    The stream is 16-bit little-endian PCM: mono at `rate_hz`, or a WAV, whose header tells channels
    and rate. It ends with the file, or when Ctrl-C is pressed while waiting for sound.

    Raises:
        AudioError: a WAV of another encoding, no rate, or one that is not that of the header.
    """
    rest, channels, num_bytes = file.read(12), 1, math.inf
    if rest[:4] == b"RIFF" and rest[8:] == b"WAVE":
        channels, found_hz, num_bytes = _read_header(file, name)
        rest = b""
        if rate_hz not in (None, found_hz):
            raise AudioError(f"{name}: found a rate of {found_hz} Hz, expected {rate_hz} Hz")
        rate_hz = found_hz
    if rate_hz is None:
        raise AudioError(f"{name}: found samples without a header, expected their rate (--rate)")
    resampler = None
    if rate_hz != target_hz:
        resampler = soxr.ResampleStream(rate_hz, target_hz, num_channels=1)
    for samples in _read_samples(file, rest, channels, num_bytes):
        yield samples if resampler is None else resampler.resample_chunk(samples)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _read_samples(
    file: BinaryIO, rest: bytes, channels: int, num_bytes: float
) -> Iterator[np.ndarray]:
    """(S,) float32, what `rest` and at most `num_bytes` of the file hold."""
    size = _BYTES_PER_SAMPLE * channels
    while True:
        whole = len(rest) // size * size
        if whole:
            yield mix_channels(np.frombuffer(rest[:whole], "<i2").reshape(-1, channels))
        try:
            content = file.read1(int(min(_BYTES_AT_ONCE, num_bytes)))
        except KeyboardInterrupt:
            return
        if not content:
            return
        rest = rest[whole:] + content
        num_bytes -= len(content)


def _read_header(file: BinaryIO, name: str) -> Tuple[int, int, float]:
    """The channels, the rate and the bytes of the samples that a WAV tells before them.

    Who writes a WAV into a pipe does not know its size: 0 and the largest numbers mean no end.
    """
    found = (0, 0, 0, 0)
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind == b"data":
            code, channels, rate_hz, bits = found
            if code not in (_PCM, _EXTENSIBLE) or bits != 8 * _BYTES_PER_SAMPLE or not channels:
                raise AudioError(
                    f"{name}: found a WAV of encoding {code} with {bits} bits and {channels}"
                    " channels, expected 16-bit PCM"
                )
            return channels, rate_hz, length if 0 < length < UNKNOWN_BYTES else math.inf
        content = file.read(length + length % 2)
        if kind == b"fmt " and len(content) >= 16:
            code, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            found = code, channels, rate_hz, bits
    raise AudioError(f"{name}: found a WAV without samples")
