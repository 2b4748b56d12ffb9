"""The experiments on real recordings, in miniature: imitations of the packages, few updates."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from helpers import REPOSITORY

from eat.data.manifest import Manifest

FOLDER = REPOSITORY / "examples" / "real_recordings"
PAPER = REPOSITORY / "examples" / "paper_in_small"
MIXTURES = REPOSITORY / "examples" / "mixtures"
BEST = REPOSITORY / "examples" / "best_recipe"
MINIATURE = [f"model.{key}=2" for key in ("depth", "num_heads", "decoder_depth")]
MINIATURE += ["model.embed_dim=32", "model.average_top_k_layers=2", "dataset.batch_size=4"]
PROMPTS = "usr/share/asterisk/sounds"
KITS = "usr/share/hydrogen/data/drumkits"
SAMPLES = "usr/share/sonic-pi/samples"


def write_sound(path, seconds=0.3, rate_hz=8000, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate_hz)) * 0.1
    soundfile.write(path, noise, rate_hz)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """What the packages hold, as far as the experiment looks at it."""
    folder = tmp_path_factory.mktemp("packages")
    for seed, voice in enumerate(("en_US_f_Allison", "fr_CA_f_June")):
        for name in ("digits/7.wav", "letters/a.wav", "hello.wav", "agent.wav", "silence/1.wav"):
            write_sound(folder / PROMPTS / voice / name, seed=seed)
    write_sound(folder / PROMPTS / "en_US_f_Allison" / "long.wav", seconds=4)
    for kit in ("Black Pearl 1.0", "BJA_Pacific", "Kit3", "Kit4"):
        for name in ("SnareRim-1.wav", "Kick Stomp.flac"):
            write_sound(folder / KITS / kit / name, rate_hz=44_100)
        (folder / KITS / kit / "drumkit.xml").write_text("<drumkit/>")
    soundfile.write(folder / KITS / "Kit3" / "emptySample.flac", np.zeros(10), 44_100)
    write_sound(folder / SAMPLES / "loop_amen.flac", rate_hz=44_100)
    write_sound(folder / SAMPLES / "tabla_ke1.flac", rate_hz=44_100)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment whose espeak-ng says everything as noise."""
    folder = tmp_path_factory.mktemp("bin")
    write_sound(folder / "spoken.wav", rate_hz=22_050)
    program = folder / "espeak-ng"
    # espeak-ng -v VOICE -s SPEED -w FILE WORD
    program.write_text(f'#!/bin/sh\ncp "{folder / "spoken.wav"}" "$6"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}


def run_script(name, *arguments, env):
    command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)


def prepare(packages, out, num_voices, environment, *more):
    options = ("--packages", packages, "--out", out, "--voices", num_voices, *more)
    result = run_script("prepare.py", *options, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def audio(packages, environment, tmp_path_factory):
    out = tmp_path_factory.mktemp("real recordings") / "audio"
    printed = prepare(packages, out, 1, environment)
    assert "19 recordings, 1 empty or shorter than 50 ms left out" in printed
    assert "120 spoken digits" in printed
    return out


def test_the_recordings_are_laid_out_by_label(audio):
    names = {str(path.relative_to(audio)) for path in audio.rglob("*.flac")}
    assert len(names) == 19 + 120
    assert {name for name in names if not name.startswith("digits/")} == {
        *(f"prompts/{voice}/{name}.flac"
          for voice in ("en_US_f_Allison", "fr_CA_f_June")
          for name in ("digits_7", "letters_a", "hello", "agent")),
        "prompts/en_US_f_Allison/long.flac",
        *(f"instruments/{instrument}/{kit}__{name}.flac"
          for kit in ("Black Pearl 1.0", "BJA_Pacific", "Kit3", "Kit4")
          for instrument, name in (("snare", "SnareRim-1"), ("kick", "Kick Stomp"))),
        "instruments/hand_drum/sonic-pi__tabla_ke1.flac",
        "other/sonic-pi/loop_amen.flac",
    }  # fmt: skip
    assert "digits/seven/en-gb-scotland_m8_180.flac" in names
    for path in audio.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert info.frames == pytest.approx(20_480 if path.stem == "long" else 4800, abs=1)


def test_what_is_there_is_not_written_again(audio, packages, environment):
    times = {path: path.stat().st_mtime_ns for path in audio.rglob("*.flac")}
    prepare(packages, audio, 1, environment)
    assert times == {path: path.stat().st_mtime_ns for path in audio.rglob("*.flac")}


def test_what_is_missing_is_named(packages, environment, tmp_path):
    out = ("--out", tmp_path / "out")
    result = run_script("prepare.py", "--packages", tmp_path, *out, env=environment)
    assert result.returncode == 1
    assert result.stderr.endswith(
        f"{tmp_path / PROMPTS}: no such folder, expected the files of Debian's"
        " asterisk-core-sounds-*-wav\n"
    )
    bare = {**environment, "PATH": str(tmp_path)}
    result = run_script("prepare.py", "--packages", packages, *out, env=bare)
    assert result.returncode == 1
    assert "found no espeak-ng, which speaks the digits: apt-get install espeak-ng" in result.stderr


def test_the_experiment_needs_the_recordings(environment, tmp_path):
    options = ("--audio", tmp_path, "--out", tmp_path / "out")
    result = run_script("run.py", *options, env=environment)
    assert result.returncode == 1
    assert f"{tmp_path}: no recordings, expected the folder that prepare.py wrote" in result.stderr
    result = run_script("run.py", *options, "--updates", 10, env=environment)
    assert result.returncode == 1
    assert f"{tmp_path / 'out'}: found results of the options {{" in result.stderr
    assert "'updates': 10" in result.stderr and "take another --out" in result.stderr


@pytest.mark.slow
def test_the_experiment_runs_and_continues(packages, environment, tmp_path):
    pytest.importorskip("fairseq")
    audio = tmp_path / "audio"
    prepare(packages, audio, 6, environment)
    sizes = [*MINIATURE, "model.num_clones=2"]
    updates = ("--updates", 2, "--finetuning-updates", 2, "--clips-per-word", 1)
    where = ("--audio", audio, "--out", tmp_path / "out")
    result = run_script("run.py", *where, *updates, "--set", *sizes, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    seed = tmp_path / "out" / "seed1"
    table = (tmp_path / "out" / "results.md").read_text()
    assert result.stdout.endswith(f"\n{table}")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    probes = {name: json.loads((seed / f"probe_{name}" / "result.json").read_text())
              for name in ("digit", "voice", "instrument")}  # fmt: skip
    for row, encoder in ((rows[2], "untrained"), (rows[3], "pre-trained")):
        values = [
            f"{v:.3f}" for by_encoder in probes.values() for v in by_encoder[encoder].values()
        ]
        assert row == [encoder, *values] and len(values) == 9
    folder = seed / "finetuning_1"
    starts = ("from scratch", "from pre-training")
    metrics = [
        json.loads((folder / s.replace(" ", "_") / "result.json").read_text()) for s in starts
    ]
    assert rows[-1] == ["1", *(f"{found['accuracy']:.3f}" for found in metrics)]
    assert len((folder / "train.lbl").read_text().splitlines()) == 10

    checkpoints = {path: path.stat().st_mtime_ns for path in seed.rglob("*.pt")}
    (seed / "probe_voice" / "result.json").unlink()
    again = run_script("run.py", *where, *updates, "--set", *sizes, env=environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("== Probe of") == 1 and "Pre-training" not in again.stdout
    assert (tmp_path / "out" / "results.md").read_text() == table
    assert {path: path.stat().st_mtime_ns for path in seed.rglob("*.pt")} == checkpoints


@pytest.mark.slow
def test_the_paper_in_small_runs_and_continues(packages, environment, tmp_path):
    pytest.importorskip("fairseq")
    audio, out = tmp_path / "audio", tmp_path / "out"
    prepare(packages, audio, 6, environment, "--seconds", 2.56)
    arguments = ("--audio", audio, "--out", out, "--seeds", 3, "--updates", 4, "--set", *MINIATURE)
    result = run_script(PAPER / "run.py", *arguments, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    table = (out / "results.md").read_text()
    assert result.stdout.endswith(f"\n{table}")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    names = ["untrained", "reference", "block 1", "block 5", "weight 0", "weight 192"]
    assert [row[0] for row in rows] == [*names, "clones 1", "clones 16"]
    # 1, 4 and 16 clones train for as long as each other.
    times = json.loads((out / "update_ms.json").read_text())
    assert list(times) == ["reference", "clones 1", "clones 16"]
    updates = {row[0]: int(row[1]) for row in rows}
    assert updates["untrained"] == 0 and updates["block 5"] == updates["reference"] == 4
    for clones in (1, 16):
        assert updates[f"clones {clones}"] == max(
            1, round(4 * times["reference"] / times[f"clones {clones}"])
        )
    found = json.loads((out / "seed3" / "clones_16" / "result.json").read_text())
    assert found["settings"]["model.num_clones"] == 16
    assert found["settings"]["model.depth"] == 2
    assert rows[-1][2] == f"{found['probes']['digit']['pre-trained']['cls']:.3f}"

    (out / "seed3" / "block_5" / "result.json").unlink()
    (out / "figure.png").unlink()
    again = run_script(PAPER / "run.py", *arguments, env=environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [line for line in again.stdout.splitlines() if line.startswith("==")][:1] == [
        "== block 5, seed 3"
    ]
    assert (out / "results.md").read_text() == table
    assert (out / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_best_recipe_is_compared_in_equal_time(packages, environment, tmp_path):
    pytest.importorskip("fairseq")
    audio, out = tmp_path / "audio", tmp_path / "out"
    prepare(packages, audio, 6, environment)
    sizes = [setting for setting in MINIATURE if not setting.startswith("dataset.")]
    arguments = ("--audio", audio, "--out", out, "--seeds", 3, "--updates", 4, "--set", *sizes)
    result = run_script(BEST / "run.py", *arguments, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    together, alone = (out / "results.md").read_text().split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in together.splitlines()[2:]]
    times = json.loads((out / "update_ms.json").read_text())
    best = max(1, round(4 * times["pretrain_tiny"] / times["best"]))
    assert rows == [["untrained", "0"], ["pretrain_tiny", "4"], ["best", str(best)]]
    names = [line.split("|")[1].strip() for line in alone.splitlines()[2:]]
    assert names[:3] == ["untrained", "pretrain_tiny", "12 clips"] and len(names) == 6
    found = json.loads((out / "one_by_one/seed3/blocks_of_one_patch/result.json").read_text())
    assert found["updates"] == 1 and found["settings"]["model.mask_block_size"] == 1
    assert (out / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_experiment_with_mixtures_runs_and_continues(packages, environment, tmp_path):
    pytest.importorskip("fairseq")
    audio, out = tmp_path / "audio", tmp_path / "out"
    prepare(packages, audio, 6, environment)
    arguments = ("--audio", audio, "--out", out, "--seeds", 3, "--updates", 2, "--set", *MINIATURE)
    result = run_script(MIXTURES / "run.py", *arguments, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    table = (out / "results.md").read_text()
    assert result.stdout.endswith(f"\n{table}")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *("untrained", "stage 1", "without mixtures", "with mixtures")
    ]
    logs = [(out / f"{kind}_mixtures_3" / "train.log").read_text() for kind in ("without", "with")]
    assert ["train_source_loss" in text for text in logs] == [False, True]
    clips = Manifest(out / "manifests" / "digit + drum" / "test.tsv")
    assert len(clips) == 500 and clips.num_samples[0] == 4800
    lines = (out / "manifests" / "digit + digit" / "train.lbl").read_text().splitlines()
    assert len(lines) == 1000 and all(len(set(x.split("\t")[1].split(","))) == 2 for x in lines)

    (out / "with_mixtures_3" / "probes.json").unlink()
    again = run_script(MIXTURES / "run.py", *arguments, env=environment)
    titles = [line for line in again.stdout.splitlines() if line.startswith("==")]
    assert titles[0] == "== Probes, with mixtures, seed 3", again.stdout + again.stderr
    assert (out / "results.md").read_text() == table
