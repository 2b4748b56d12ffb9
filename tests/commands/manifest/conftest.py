"""Fixtures of the builders' tests: sounds to list, and what was listed."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eat.data.labels import read_descriptors, read_labels
from eat.data.manifest import Manifest


@pytest.fixture
def write_sound(tmp_path):
    """Writes a short sound below `tmp_path / "audio"`, in the format of its extension."""

    def write_sound(name, num_samples=800, rate_hz=16000, num_channels=1):
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(1).uniform(-0.5, 0.5, (num_samples, num_channels))
        soundfile.write(os.fspath(path), samples, rate_hz, format=path.suffix[1:].upper())
        return path

    return write_sound


@pytest.fixture
def clips_of():
    """Clips of a manifest and their samples."""

    def clips_of(path):
        manifest = Manifest(path)
        paths = manifest.relative_paths()
        return dict(zip(paths, manifest.num_samples.tolist(), strict=True))

    return clips_of


@pytest.fixture
def labelled():
    """Clips of a split, with the names of their classes."""

    def labelled(folder: Path, split: str = "train"):
        manifest = Manifest(folder / f"{split}.tsv")
        descriptors = read_descriptors(folder / "label_descriptors.csv")
        table = read_labels(folder / f"{split}.lbl", manifest, descriptors)
        return {
            path: [descriptors[index].name for index in table.classes(clip)]
            for clip, path in enumerate(manifest.relative_paths())
        }

    return labelled
