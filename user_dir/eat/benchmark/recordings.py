"""Recordings to read in a benchmark: synthetic sound events in files of different kinds."""

import os
from pathlib import Path
from typing import List, NamedTuple

import numpy as np
import soundfile

from eat.audio.synthesis import CLASSES, synthesise


class FileKind(NamedTuple):
    """What a file is like."""

    ending: str
    sample_rate_hz: int
    num_channels: int

    def __str__(self) -> str:
        channels = {1: "mono", 2: "stereo"}[self.num_channels]
        return f"{self.ending} {self.sample_rate_hz / 1000:g} kHz {channels}"


KINDS = (
    FileKind("wav", 16_000, 1),
    FileKind("wav", 44_100, 2),
    FileKind("flac", 44_100, 2),
    FileKind("mp3", 44_100, 2),
    FileKind("ogg", 48_000, 1),
)


def write_recordings(folder: Path, kind: FileKind, num_clips: int, seconds: float) -> List[str]:
    """Write recordings of one kind; returns their paths."""
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_clips):
        name = CLASSES[index % len(CLASSES)]
        sound = synthesise(name, index, 0, seconds, kind.sample_rate_hz)
        channels = np.stack([sound, sound[::-1]][: kind.num_channels], axis=1)
        paths.append(os.fspath(folder / f"{index}.{kind.ending}"))
        soundfile.write(paths[-1], channels, kind.sample_rate_hz)
    return paths
