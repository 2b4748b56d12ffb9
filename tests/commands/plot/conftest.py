"""What the tests of `eat plot` share."""

import numpy as np
import pytest
import soundfile

import eat.figures
from eat.commands.main import main


@pytest.fixture
def plot(monkeypatch, tmp_path):
    """`plot(*arguments)` runs `eat plot` and returns the exit status and the figures it drew."""
    monkeypatch.chdir(tmp_path)
    save_figure = eat.figures.save_figure
    drawn = []

    def save_and_keep(figure, path):
        drawn.append(figure)
        return save_figure(figure, path)

    monkeypatch.setattr(eat.figures, "save_figure", save_and_keep)

    def run(*arguments):
        drawn.clear()
        return main(["plot", *map(str, arguments)]), list(drawn)

    return run


@pytest.fixture
def recording(tmp_path):
    """A file of 1.5 s at 8 kHz: 148 frames, 160 in whole patches."""
    path = tmp_path / "dog $1.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(12_000)
    soundfile.write(path, noise, 8000)
    return path
