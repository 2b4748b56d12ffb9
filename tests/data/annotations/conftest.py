"""Sounds to list, folders that cannot be opened, and the lists that were written."""

import os
from functools import partial

import numpy as np
import pytest
import soundfile

from eat.commands.main import main
from eat.data.manifest import Manifest
from eat.data.split import open_split


@pytest.fixture
def audio(tmp_path):
    """The folder of the sounds."""
    return tmp_path / "audio"


@pytest.fixture
def out(tmp_path):
    """The folder that the lists are written to."""
    return tmp_path / "out"


@pytest.fixture
def list_clips(out):
    """Runs an action of `eat manifest` with some options."""
    return lambda action, *options: main(
        ["manifest", action, "--out", str(out), *map(str, options)]
    )


@pytest.fixture
def list_folder(list_clips, audio):
    """Runs `eat manifest folder`."""
    audio.mkdir(exist_ok=True)
    return partial(list_clips, "folder", audio)


@pytest.fixture
def write_sound(audio):
    """Writes a short sound below `audio`, in the format of its extension."""

    def write_sound(name, num_samples=800, rate_hz=16000, num_channels=1):
        path = audio / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(1).uniform(-0.5, 0.5, (num_samples, num_channels))
        soundfile.write(os.fspath(path), samples, rate_hz, format=path.suffix[1:].upper())
        return path

    return write_sound


@pytest.fixture
def close_folder(monkeypatch):
    """Lets no folder of a name be opened."""

    def close_folder(name):
        def scandir(path):
            if str(path).endswith(f"/{name}"):
                raise PermissionError(13, "Permission denied", path)
            return real_scandir(path)

        real_scandir = os.scandir
        monkeypatch.setattr(os, "scandir", scandir)

    return close_folder


@pytest.fixture
def clips_of(out):
    """Clips of a manifest and their samples."""

    def clips_of(name):
        manifest = Manifest(out / f"{name}.tsv")
        return dict(zip(manifest.relative_paths(), manifest.num_samples.tolist(), strict=True))

    return clips_of


@pytest.fixture
def labels_of(out):
    """Clips of a split, with the names of their classes."""

    def labels_of(name, folder="."):
        split = open_split(str(out / folder), name)
        return {
            path: [split.descriptors[index].name for index in split.labels.classes(clip)]
            for clip, path in enumerate(split.manifest.relative_paths())
        }

    return labels_of
