"""The experiment with events, in miniature: imitations of the packages, few updates."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from helpers import REPOSITORY

from eat.data.split import open_split

FOLDER = REPOSITORY / "examples" / "events"
MINIATURE = [f"model.{key}=2" for key in ("depth", "num_heads", "decoder_depth")]
MINIATURE += ["model.embed_dim=32", "model.average_top_k_layers=2", "model.num_clones=2"]


def write_sound(path, seconds, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 16_000)) * 0.1
    soundfile.write(path, np.pad(noise, 800), 16_000)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """What the package holds, as far as the experiment looks at it."""
    folder = tmp_path_factory.mktemp("packages")
    for seed, kit in enumerate(("BJA_Pacific", "ColomboAcousticDrumkit")):
        write_sound(folder / "usr/share/hydrogen/data/drumkits" / kit / "Kick.wav", 0.06, seed)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment whose espeak-ng says everything as noise."""
    folder = tmp_path_factory.mktemp("bin")
    write_sound(folder / "spoken.wav", 0.6, 2)
    program = folder / "espeak-ng"
    # espeak-ng -v VOICE -s SPEED -w FILE WORD
    program.write_text(f'#!/bin/sh\ncp "{folder / "spoken.wav"}" "$6"\n')
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run_script(name, *arguments, env):
    command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def data(packages, environment, tmp_path_factory):
    out = tmp_path_factory.mktemp("events") / "data"
    options = ("--packages", packages, "--seconds", 30, "--scale", 0.5)
    result = run_script("mix.py", "--out", out, *options, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.mark.slow
def test_recordings_are_mixed_at_known_times(data):
    test, descriptors, _, events = open_split(str(data), "test", labelled=False)
    assert [label.name for label in descriptors][::9] == ["zero", "nine"]
    assert list(test.relative_paths()) == ["test-000.flac", "test-001.flac", "test-002.flac"]
    # At 20 dB the recording is loud where an event is, and elsewhere only while a drum sounds.
    samples, rate_hz = soundfile.read(test.path(0))
    assert (rate_hz, len(samples)) == (16_000, 30 * 16_000)
    is_event = np.zeros(len(samples), bool)
    for onset, offset, _ in events.events(0):
        is_event[round(onset * rate_hz) : round(offset * rate_hz)] = True
    loudness = np.abs(samples)
    assert np.median(loudness[is_event]) > 5 * np.median(loudness[~is_event]) > 0
    # Parts of the recordings to train on have the events of their share.
    train = open_split(str(data), "train", labelled=False)
    assert train.manifest.relative_path(1) == "train-000.flac/5.12-10.24"
    assert all(offset <= 5.12 for clip in range(10) for _, offset, _ in train.events.events(clip))


@pytest.mark.slow
def test_what_is_missing_is_named(tmp_path, environment):
    options = ("--out", tmp_path / "out", "--packages", tmp_path)
    result = run_script("mix.py", *options, env=environment)
    assert result.returncode == 1
    assert result.stderr.endswith("expected the files of Debian's hydrogen-drumkits\n")
    without = {**environment, "PATH": str(tmp_path)}
    result = run_script("mix.py", *options, env=without)
    assert result.returncode == 1 and result.stderr.startswith("mix: found no espeak-ng")


@pytest.mark.slow
def test_the_experiment_runs_and_continues(data, environment, tmp_path):
    for name in ("fairseq", "sed_eval", "sed_scores_eval"):
        pytest.importorskip(name)
    where = ("--data", data, "--out", tmp_path / "out", "--seeds", 1)
    updates = ("--updates", 2, "--finetuning-updates", 2, "--set", *MINIATURE)
    result = run_script("run.py", *where, *updates, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    table = (tmp_path / "out" / "results.md").read_text()
    assert result.stdout.endswith(f"\n{table}")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows[0][:3] == ["", "event F1", "PSDS"]
    assert [row[0] for row in rows[2:]] == ["pre-trained", "untrained"]
    assert (tmp_path / "out" / "figure.png").stat().st_size > 10_000
    (tmp_path / "out" / "untrained_1" / "result.json").unlink()
    again = run_script("run.py", *where, *updates, env=environment)
    assert again.returncode == 0, again.stdout + again.stderr
    titles = [line for line in again.stdout.splitlines() if line.startswith("==")]
    assert titles[0] == "== Test, untrained, seed 1" and "Fine-tuning" not in again.stdout
    assert (tmp_path / "out" / "results.md").read_text() == table
