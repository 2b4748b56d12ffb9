"""Check that samples can be used: those of one array, or all of a file."""

import logging
import os
import re
import sys
from threading import Lock
from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import AudioError
from .log_mel import LogMel
from .opening import AudioPath, open_sound, read_chunks
from .read import mix_channels

logger = logging.getLogger(__name__)

_MIN_REST = 1024  # bytes; sloppy headers of good files
# Text that begins a chunk or tag behind the sound, and does not begin another audio file.
_OTHER_CHUNK = re.compile(rb"(?!RIFF|RF64|FORM|caff|OggS|fLaC|\.snd)[ -~]{4}")
_LOUD = 10  # times full scale; what clipped on its way through a mix reaches 1.4
_CANCELLED = 1e-4  # power of the mean over that of the channels: -40 dB
SILENT = 1e-4  # from the lowest to the highest sample: 3 steps of 16 bits
_MAX_AMPLITUDE = 1e15  # from about 1e16 on, the power of a spectrum is infinite in float32
_LOUD_NOTE = (
    "found samples up to {:.3g}, expected [-1, 1]: integers stored as floating point?"
    " Divide 16-bit ones by 32768"
)

_has_warned = Lock()  # held once the first loud clip was warned of, by whichever thread


def check_length(num_samples: int, name: str, log_mel: LogMel) -> None:
    """Raise an AudioError for a clip at the rate of a front end that is shorter than one frame."""
    needed, rate_hz = log_mel.window_samples, log_mel.reading_rate_hz
    if num_samples < needed:
        raise AudioError(
            f"{name}: found {num_samples} samples at {rate_hz / 1000:g} kHz, expected at least"
            f" {needed} ({1000 * needed / rate_hz:g} ms)"
        )


def check_finite(samples: np.ndarray, name: str) -> None:
    """Raise an AudioError for NaN or infinite samples, or so large ones that their power is.

    The first samples of a process that are above 10 times full scale are logged.
    """
    if samples.size == 0:
        return
    peak = max(-float(samples.min()), float(samples.max()))  # NaN if any sample is NaN
    if not np.isfinite(peak):
        raise AudioError(f"{name}: found NaN or infinite samples")
    if peak > _MAX_AMPLITUDE:
        raise AudioError(f"{name}: found samples up to {peak:.2g}, expected [-1, 1]")
    if peak > _LOUD and _has_warned.acquire(blocking=False):
        logger.warning("%s: %s", name, _LOUD_NOTE.format(peak))


class AudioScan(NamedTuple):
    """What a file holds; `num_samples` is per channel at the file's own rate."""

    num_samples: int
    sample_rate_hz: int
    is_silent: bool  # every sample has the same value
    notes: Tuple[str, ...] = ()  # what else is odd, each `kind: details` or a kind alone


def scan_audio(
    path: AudioPath, hdf5_rate_hz: Optional[int] = None, log_mel: Optional[LogMel] = None
) -> AudioScan:
    """Decode a file from start to end, in chunks, so that any length fits in memory.

    Args:
        path, hdf5_rate_hz: as in `read_audio`.
        log_mel: the front end, which uses `target_length` frames from the start (None: all);
            None: one that uses all.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the file cannot be decoded, is cut off, is shorter than one frame of a
            spectrogram (25 ms), or holds NaN or infinite samples.
    """
    name, log_mel = os.fspath(path), log_mel or LogMel(target_length=None)
    used_hz, used_samples = log_mel.reading_rate_hz, log_mel.max_samples
    num_samples, levels = 0, []
    with open_sound(path, hdf5_rate_hz) as sound:
        rate_hz = sound.samplerate
        num_used = sys.maxsize if used_samples is None else used_samples * rate_hz // used_hz
        first, expected = sound.part or (0, sound.frames)
        if first > 0:
            sound.go_to(first)
        for chunk in read_chunks(sound, expected if sound.part else None):
            check_finite(chunk, name)
            levels.append(_levels_of(chunk, max(0, num_used - num_samples)))
            num_samples += len(chunk)
        if (sound.has_length or sound.part) and num_samples < expected:
            by = "the part" if sound.part else "its header"
            raise AudioError(
                f"{name}: cut off: found {num_samples} samples, expected {expected} by {by}"
            )
        rest = b"" if sound.part else sound.next_bytes().strip(b"\0")
        is_cut_off = not sound.part and sound.is_cut_off()
    check_length(num_samples * used_hz // rate_hz, name, log_mel)
    merged = zip((min, max, min, max, sum, sum), zip(*levels, strict=True), strict=True)
    whole = [merge(values) for merge, values in merged]
    notes = list(_notes_on_levels(whole, used_samples and used_samples / used_hz))
    if is_cut_off:
        notes.append("the page that ends an ogg is missing: cut off, or never finished?")
    elif len(rest) >= _MIN_REST and not _OTHER_CHUNK.match(rest):
        notes.append(
            "the file holds more than its header says: what follows sample"
            f" {num_samples} is not read (files joined into one?)"
        )
    return AudioScan(num_samples, rate_hz, bool(whole[0] == whole[1]), tuple(notes))


def _levels_of(chunk: np.ndarray, num_used: int) -> Tuple[float, ...]:
    """The lowest and highest value of (n, channels), those of the part of its mean that is used
    (of `num_used` samples), and the power of the channels and of the mean.
    """
    mean = mix_channels(chunk)
    used = mean[:num_used]
    lowest, highest = used.min(initial=np.inf), used.max(initial=-np.inf)
    channel_power = float(np.vdot(chunk, chunk)) / chunk.shape[1]
    return chunk.min(), chunk.max(), lowest, highest, channel_power, float(np.vdot(mean, mean))


def _notes_on_levels(levels: Sequence[float], used_seconds: Optional[float]) -> Iterator[str]:
    """What is odd about the levels of a whole file, see `_levels_of`."""
    low, high, used_low, used_high, channel_power, mean_power = levels
    peak = max(-low, high)
    if peak > _LOUD:
        yield f"far above full scale: {_LOUD_NOTE.format(peak)}"
    if mean_power < _CANCELLED * channel_power:
        yield "the channels cancel: their mean, which the network gets, is silent"
    elif used_seconds and used_high - used_low < SILENT <= high - low:
        yield f"the part that is used, the first {used_seconds:.2f} s, is silent; the rest is not"
