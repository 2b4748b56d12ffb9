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
_ENCODINGS = (1, 0xFFFE)  # PCM, and a longer header that says the same
_BYTES_PER_SAMPLE = 2


def read_stream(
    file: BinaryIO, target_hz: int, rate_hz: Optional[int] = None
) -> Iterator[np.ndarray]:
    """Yield the samples of a stream as they come, (S,) mono float32 in [-1, 1] at `target_hz`.

    The stream is 16-bit little-endian PCM: mono at `rate_hz`, or a WAV, whose header tells channels
    and rate. It ends with the file, or when Ctrl-C is pressed while waiting for sound. An
    AudioError for a WAV of another encoding, no rate, or one that is not that of the header.
    """
    rest, channels, num_bytes = file.read(12), 1, math.inf
    if rest[:4] == b"RIFF" and rest[8:] == b"WAVE":
        channels, found_hz, num_bytes = _read_header(file)
        if rate_hz not in (None, found_hz):
            raise AudioError(f"stdin: found a rate of {found_hz} Hz, expected {rate_hz} Hz")
        rest, rate_hz = b"", found_hz
    if rate_hz is None:
        raise AudioError("stdin: found samples without a header, expected their rate (--rate)")
    resampler, is_end = soxr.ResampleStream(rate_hz, target_hz, num_channels=1), False
    while not is_end:
        try:
            content = file.read1(int(min(_BYTES_AT_ONCE, num_bytes)))
        except KeyboardInterrupt:
            content = b""
        is_end, rest, num_bytes = not content, rest + content, num_bytes - len(content)
        whole = len(rest) // (_BYTES_PER_SAMPLE * channels) * _BYTES_PER_SAMPLE * channels
        samples = np.frombuffer(rest[:whole], "<i2").reshape(-1, channels)
        rest = rest[whole:]
        yield resampler.resample_chunk(mix_channels(samples), last=is_end)


def _read_header(file: BinaryIO) -> Tuple[int, int, float]:
    """The channels, the rate and the bytes of the samples that a WAV tells before them.

    Who writes a WAV into a pipe does not know its size: 0 and the largest numbers mean no end.
    """
    code, channels, rate_hz, bits = 0, 0, 0, 0
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind == b"data":
            if code not in _ENCODINGS or bits != 8 * _BYTES_PER_SAMPLE or not channels:
                found = f"encoding {code} with {bits} bits and {channels} channels"
                raise AudioError(f"stdin: found a WAV of {found}, expected 16-bit PCM")
            return channels, rate_hz, length if 0 < length < UNKNOWN_BYTES else math.inf
        content = file.read(length + length % 2)
        if kind == b"fmt " and len(content) >= 16:
            code, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    raise AudioError("stdin: found a WAV without samples")
