"""Audio files damaged in twelve ways, as collections of recordings have them."""

import os
import re
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

import numpy as np
import soundfile

SAMPLE_RATE_HZ = 16_000

# The path of a bad clip in the log of a training that goes on without it.
NAMED = re.compile(
    r"replaced a clip that cannot be read: \S+train\.tsv:\d+: (?:no such.*?: )?([^:\n]+)"
)


class Collection(NamedTuple):
    """Audio files and which of them are damaged, by name."""

    entries: List  # (name, samples that a manifest says)
    damaged: Dict[str, str]  # name -> way


def _empty(path: Path, clip: np.ndarray) -> None:
    path.touch()


def _zeros(path: Path, clip: np.ndarray) -> None:
    """What a file system may leave after a crash."""
    path.write_bytes(bytes(32_000))


def _text(path: Path, clip: np.ndarray) -> None:
    """What a failed download leaves."""
    path.write_text("<html>503 Service Unavailable</html>\n" * 100)


def _header(path: Path, clip: np.ndarray) -> None:
    soundfile.write(path, clip, SAMPLE_RATE_HZ)
    os.truncate(path, 44)


def _cut_off(path: Path, clip: np.ndarray) -> None:
    soundfile.write(path, clip, SAMPLE_RATE_HZ)
    os.truncate(path, path.stat().st_size // 2)


def _cut_off_flac(path: Path, clip: np.ndarray) -> None:
    soundfile.write(path, clip, SAMPLE_RATE_HZ, format="FLAC")
    os.truncate(path, path.stat().st_size // 2)


def _garbled(path: Path, clip: np.ndarray) -> None:
    """A compressed file with a hole in it."""
    soundfile.write(path, clip, SAMPLE_RATE_HZ, format="FLAC")
    content = bytearray(path.read_bytes())
    start = len(content) // 3
    content[start : start + 2000] = bytes(2000)
    path.write_bytes(content)


def _missing(path: Path, clip: np.ndarray) -> None:
    pass


def _folder(path: Path, clip: np.ndarray) -> None:
    path.mkdir()


def _pipe(path: Path, clip: np.ndarray) -> None:
    os.mkfifo(path)


def _not_a_number(path: Path, clip: np.ndarray) -> None:
    clip = clip.copy()
    clip[100] = np.nan
    soundfile.write(path, clip, SAMPLE_RATE_HZ, subtype="FLOAT")


def _one_sample(path: Path, clip: np.ndarray) -> None:
    soundfile.write(path, clip[:1], SAMPLE_RATE_HZ)


WAYS: Dict[str, Callable[[Path, np.ndarray], None]] = {
    function.__name__.strip("_"): function
    for function in (
        *(_empty, _zeros, _text, _header, _cut_off, _cut_off_flac, _garbled),
        *(_missing, _folder, _pipe, _not_a_number, _one_sample),
    )
}


def write_collection(
    folder: Path, num_clips: int, damaged_ratio: float = 0.03, seconds: float = 0.4, seed: int = 1
) -> Collection:
    """Write clips of noise, a share of which is damaged, each way as often as the others."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    num_damaged = round(damaged_ratio * num_clips)
    damaged = generator.permutation(num_clips)[:num_damaged]
    way_of = {int(clip): list(WAYS)[n % len(WAYS)] for n, clip in enumerate(damaged)}
    num_samples = round(seconds * SAMPLE_RATE_HZ)
    collection = Collection([], {})
    for clip in range(num_clips):
        samples = 0.1 * generator.standard_normal(num_samples, dtype=np.float32)
        name = f"clip {clip}.wav"
        if clip in way_of:
            name = f"{way_of[clip]} {clip}.wav"
            WAYS[way_of[clip]](folder / name, samples)
            collection.damaged[name] = way_of[clip]
        else:
            soundfile.write(folder / name, samples, SAMPLE_RATE_HZ)
        collection.entries.append((name, num_samples))
    return collection
