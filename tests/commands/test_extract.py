import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from helpers import pack_clips
from safetensors.numpy import load_file

import eat
from eat import features
from eat.commands.main import main
from eat.data.manifest import write_manifest
from eat.machine import Hardware

FILES = {
    "a.wav": (8000, 4000),
    "b.flac": (44100, (30_000, 2)),
    "birds/c 1.ogg": (48000, 20_000),
    "birds/é.wav": (16000, 16000),
}
NAMES = {"a", "b", "birds/c 1", "birds/é"}


@pytest.fixture
def audio(tmp_path):
    """A folder of four clips of different formats, rates and channels, and a text file."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "audio"
    for name, (rate_hz, shape) in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, generator.standard_normal(shape) * 0.1, rate_hz)
    (folder / "notes.txt").write_text("hello")
    return folder


@pytest.fixture
def extract(official_pretrain, tmp_path, capsys):
    """`extract(...)` runs `eat extract` with the golden checkpoint; returns status, out, err."""

    def extract(*arguments, out="out", checkpoint=official_pretrain):
        arguments = [*map(str, arguments), "--checkpoint", checkpoint, "--out", tmp_path / out]
        status = main(["extract", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return extract


def read(folder):
    """Name -> features of all .npy files of a folder."""
    paths = folder.rglob("*.npy")
    return {str(path.relative_to(folder).with_suffix("")): np.load(path) for path in paths}


def test_the_tree_of_a_folder_is_mirrored(extract, audio, tmp_path, official_pretrain):
    status, out, err = extract(audio)
    assert status == 0
    assert out.startswith(f"{tmp_path / 'out'}: 4 clips extracted (")
    assert out.endswith(" 0 were there already, 0 failed\n")
    assert err == f"{audio}: left out 1 other files: 1 .txt\n"
    found = read(tmp_path / "out")
    assert found.keys() == NAMES
    encoder = eat.load_encoder(official_pretrain)
    for name in FILES:
        features = found[name.rsplit(".", 1)[0]]
        expected = eat.extract_features(audio / name, encoder)
        assert features.dtype == np.float32
        assert np.abs(features - expected.numpy()).max() < 1e-5


def test_files_and_manifests(extract, audio, tmp_path, monkeypatch):
    write_manifest(tmp_path / "some.TSV", "audio", [("birds/../a.wav", 4000), ("birds/é.wav", 9)])
    monkeypatch.chdir(audio / "birds")
    assert extract(audio / "b.flac", "../../audio/birds/c 1.ogg")[0] == 0
    assert read(tmp_path / "out").keys() == {"b", "c 1"}
    status, _, err = extract(tmp_path / "some.TSV")
    assert (status, err) == (0, "")
    assert read(tmp_path / "out").keys() == {"b", "c 1", "a", "birds/é"}
    assert extract("../a.wav", "é.wav", "../../audio/birds/c 1.ogg", out="again")[0] == 0
    assert read(tmp_path / "again").keys() == {"a", "é", "c 1"}
    assert not list(audio.rglob("*.npy"))  # no name leaves the folder


def test_two_inputs_of_one_name(extract, audio, tmp_path):
    soundfile.write(audio / "birds" / "a.wav", np.zeros(4000), 8000)
    status, _, err = extract(audio / "a.wav", audio / "birds" / "a.wav")
    assert status == 1
    assert (
        f"found {audio}/a.wav and {audio}/birds/a.wav, whose features would both be called 'a.wav':"
        " extract them to different folders" in err
    )
    assert not (tmp_path / "out").exists()
    soundfile.write(audio / "a.flac", np.zeros(4000), 8000)
    assert extract(audio)[0] == 0  # those of one name keep their extensions
    assert {"a.flac", "a.wav", "birds/a", "b"} <= read(tmp_path / "out").keys()
    (tmp_path / "out").rename(tmp_path / "before")
    (audio / "birds" / "a.wav").unlink()
    status, out, _ = extract(audio / "a.wav", audio / "birds" / ".." / "a.wav")  # the same file
    assert status == 0 and ": 1 clips extracted (" in out


@pytest.mark.parametrize("format", ["npz", "safetensors"])
def test_one_file(extract, audio, tmp_path, format):
    extract(audio, "--granularity", "time", "--layers", "3,1", out="many")
    expected = read(tmp_path / "many")
    options = ("--granularity", "time", "--layers", "3,1", "--format", format)
    assert extract(audio / "a.wav", *options)[0] == 0
    status, out, _ = extract(audio, *options)
    assert status == 0
    assert ": 3 clips extracted (" in out and " 1 were there already, 0 failed" in out
    path = tmp_path / "out" / f"features.{format}"
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {path.name, "settings.json"}
    found = dict(np.load(path)) if format == "npz" else load_file(path)
    assert found.keys() == {*NAMES, "times"}
    assert np.allclose(found["times"], features.frame_times(7))
    for name in NAMES:
        assert found[name].shape == expected[name].shape
        assert np.abs(found[name] - expected[name]).max() < 1e-5


def test_names_that_one_file_cannot_hold(extract, audio):
    (audio / "a.wav").rename(audio / "times.wav")
    status, _, err = extract(audio, "--format", "npz", "--granularity", "time")
    assert status == 1
    assert "error: found a file called 'times', as the array of times is: rename it, or" in err
    assert extract(audio, "--format", "npz")[0] == 0

    os.rename(audio / "b.flac", os.fsencode(audio) + b"/\xff.flac")
    status, _, err = extract(audio, "--format", "safetensors", out="other")
    assert status == 1
    assert r"error: found the name '\udcff', expected UTF-8: take --format npy" in err


@pytest.mark.parametrize(
    "options, settings, shape",
    [
        ("--granularity all", {"granularity": "all"}, (1 + 7 * 8, 48)),
        (
            "--granularity utterance --layers all",
            *({"granularity": "utterance", "layers": "all"}, (3, 48)),
        ),
        ("--granularity time --layers mean", {"granularity": "time", "layers": "mean"}, (7, 48)),
        ("--target-length 64", {"target_length": 64}, (4 * 8, 48)),
        (
            "--weights teacher --layers 2 --window-seconds 0.48 --overlap-seconds 0.16",
            *({"layers": [2], "window_seconds": 0.48, "overlap_seconds": 0.16}, (1, 7 * 8, 48)),
        ),
        ("--fast", {}, (7 * 8, 48)),
        ("--batch-size 2 --workers 3 --device cpu", {}, (7 * 8, 48)),
    ],
)
def test_options_reach_the_extraction(
    extract, audio, tmp_path, official_pretrain, options, settings, shape, monkeypatch
):
    monkeypatch.setattr(Hardware, "multiplies_bf16", lambda *args: True)
    path = audio / "birds" / "é.wav"
    assert extract(path, *options.split())[0] == 0
    found = read(tmp_path / "out")["é"]
    assert found.shape == shape
    weights = "teacher" if "teacher" in options else "student"
    encoder = eat.load_encoder(official_pretrain, weights=weights)
    expected = eat.extract_features(path, encoder, **settings).numpy()
    if "--fast" not in options:
        assert np.abs(found - expected).max() < 1e-5
        return
    cosine = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert 0.999 < (cosine / np.linalg.norm(expected, axis=1)).min() < 1 - 1e-6


def test_fast_needs_hardware(extract, audio, monkeypatch):
    monkeypatch.setattr(Hardware, "multiplies_bf16", lambda *args: False)
    status, _, err = extract(audio, "--fast", "--device", "cpu")
    assert status == 1
    assert "error: fast: found " in err and ", expected a cpu with hardware for bf16" in err


def test_what_is_there_is_skipped(extract, audio, tmp_path):
    extract(audio)
    os.remove(tmp_path / "out" / "birds" / "é.npy")
    (tmp_path / "out" / ".a.npy.1.tmp").write_text("left by a run that was killed")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")}
    status, out, _ = extract(audio)
    assert status == 0
    assert ": 1 clips extracted (" in out and " 3 were there already, 0 failed" in out
    assert read(tmp_path / "out").keys() == NAMES
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert not list((tmp_path / "out").rglob(".*"))
    status, out, _ = extract(audio)
    assert status == 0
    assert ": 0 clips extracted (" in out and " 4 were there already, 0 failed" in out


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_failures_are_listed_and_do_not_stop_the_run(extract, audio, tmp_path, format):
    (audio / "text.wav").write_text("hello")
    (audio / "empty.flac").touch()
    nan = np.zeros(4000, np.float32)
    nan[7] = np.nan
    soundfile.write(audio / "nan.wav", nan, 16000, subtype="FLOAT")
    soundfile.write(audio / "birds" / "short.wav", np.zeros(100), 16000)
    status, out, err = extract(audio, tmp_path / "absent.wav", "--format", format)

    assert status == 1
    assert ": 4 clips extracted (" in out
    assert out.endswith(" 0 were there already, 5 failed\n")
    lines = err.splitlines()[1:]
    assert lines[0] == f"failed {tmp_path}/absent.wav: no such audio file: {tmp_path}/absent.wav"
    assert lines[1] == (
        f"failed {audio}/birds/short.wav: found 100 samples at 16 kHz, expected at least 400"
        " (25 ms)"
    )
    assert lines[2] == f"failed {audio}/empty.flac: found an empty file, expected an audio file"
    assert lines[3] == f"failed {audio}/nan.wav: found NaN or infinite samples"
    assert lines[4].startswith(f"failed {audio}/text.wav: not readable as audio: ")
    assert len(lines) == 5

    status, out, err = extract(audio, "--format", format)
    assert status == 1
    assert ": 0 clips extracted (" in out and " 4 were there already, 4 failed" in out


def test_other_settings_need_another_folder(extract, audio, tmp_path, official_finetune):
    path = audio / "a.wav"
    extract(path, "--batch-size", 1)
    assert extract(path, "--batch-size", 3, "--workers", 1)[0] == 0  # these change nothing
    status, _, err = extract(path, "--layers", "mean", "--format", "npz")
    assert status == 1
    found = "found features that were made with other settings"
    assert f"error: {tmp_path}/out/settings.json: {found}" in err
    assert " format='npz' (there: 'npy'), layers='mean' (there: 'last'); expected" in err
    for other in ({"checkpoint": official_finetune}, {}):
        options = () if other else ("--weights", "teacher")
        status, _, err = extract(path, *options, **other)
        assert status == 1
        assert " weights_sha256=" in err
    assert read(tmp_path / "out").keys() == {"a"}


def test_a_copy_of_the_checkpoint_is_the_same(extract, audio, tmp_path, official_pretrain):
    extract(audio / "a.wav")
    copy = shutil.copy(official_pretrain, tmp_path / "copy.pt")
    assert extract(audio, checkpoint=copy)[0] == 0
    noted = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert noted["made_with"] == {"checkpoint": "official_pretrain.pt", "eat": eat.__version__}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--target-length", 100], "target_length: found 100, expected a positive multiple of the"),
        (["--layers", "4"], "layers: found [4], expected"),
        pytest.param(
            ["--device", "cuda"],
            "device: found no CUDA device (`eat doctor` says more), expected one",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="is possible with a GPU"),
        ),
    ],
)
def test_impossible_settings_leave_no_trace(extract, audio, tmp_path, options, message):
    status, _, err = extract(audio, *options)
    assert status == 1 and f"error: {message}" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--layers", "1,x"], "found '1,x', expected last, all, mean or numbers of blocks such as"),
        (["--granularity", "patch"], "invalid choice: 'patch'"),
    ],
)
def test_wrong_usage(capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        main(["extract", *options])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_features_of_unknown_origin(extract, audio, tmp_path):
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "a.npy", np.zeros(3))
    status, _, err = extract(audio)
    assert status == 1
    assert "found features without the settings.json that says how they were made" in err
    (tmp_path / "empty").mkdir()
    status, _, err = extract(tmp_path / "empty")
    assert status == 1
    assert f"error: {tmp_path}/empty: found no audio file (no file at all), expected" in err


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", "npz"])
def test_a_killed_run_leaves_nothing_half_written(audio, tmp_path, official_pretrain, format):
    sound = np.random.default_rng(0).standard_normal(8000) * 0.1
    for index in range(300):
        soundfile.write(audio / f"{index}.wav", sound, 16000)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "eat.commands.main", "extract", audio, "--out", out]
    command += ["--checkpoint", official_pretrain, "--format", format]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(read(out)) < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = read(out)  # every file can be read
    assert 20 <= len(done) < 304

    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    found = read(out) if format == "npy" else np.load(out / "features.npz")
    assert len(found) == 304
    assert int(result.stdout.split(": ")[1].split()[0]) <= 304 - len(done)
    settings = {"settings.json"} if format == "npy" else {"settings.json", "features.npz"}
    others = {path.name for path in out.iterdir() if path.suffix != ".npy" and path.is_file()}
    assert others == settings
    assert json.loads((out / "settings.json").read_text())["made_with"]["eat"] == eat.__version__


def test_a_folder_of_weights_is_noted_by_its_name(audio, official_pretrain, tmp_path):
    weights = tmp_path / "weights" / "eat.safetensors"
    eat.checkpoint.convert_checkpoint(official_pretrain, weights, "safetensors")
    features.extract_to_folder([str(audio)], f"{tmp_path}/weights/", f"{tmp_path}/out")
    noted = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert noted["made_with"]["checkpoint"] == "weights"


def test_one_input_and_paths_are_taken(audio, official_pretrain, tmp_path):
    paths = audio, Path(official_pretrain), tmp_path / "out"
    assert features.extract_to_folder(*paths).num_extracted == 4
    assert features.extract_to_folder([str(audio)], *map(str, paths[1:])).num_present == 4


def test_another_format_is_refused_before_clips_are_read(audio, official_pretrain, tmp_path):
    settings = features.ExtractionSettings(format="h5")
    with pytest.raises(ValueError, match="format: found 'h5', expected one of"):
        features.extract_to_folder(audio, official_pretrain, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form, ending", [("zip", ".zip"), ("hdf5", ".h5")])
def test_a_manifest_of_packs(extract, audio, tmp_path, form, ending):
    main(["manifest", "folder", str(audio), "--out", f"{tmp_path}/files", "--valid-fraction", "0"])
    manifest = f"{tmp_path}/files/train.tsv"
    pack_clips(manifest, tmp_path / "packs", form)
    assert extract(audio)[0] == 0
    status, out, err = extract(f"{tmp_path}/packs/train.tsv", out="packed")
    assert (status, err) == (0, "")
    assert "4 clips extracted" in out
    found = read(tmp_path / "packed")
    assert found.keys() == {f"train-00000{ending}/{name}" for name in NAMES}
    for name, expected in read(tmp_path / "out").items():
        assert np.abs(found[f"train-00000{ending}/{name}"] - expected).max() < 1e-5


@pytest.mark.parametrize("form, ending", [("zip", ".zip"), ("hdf5", ".h5")])
@pytest.mark.parametrize("way", ["cut off", "missing"])
def test_a_bad_pack_fails_alone(extract, audio, tmp_path, form, ending, way):
    clips = []
    for name, file in (("good", "a.wav"), ("bad", "b.flac")):
        manifest = str(tmp_path / f"{name}.tsv")
        write_manifest(manifest, str(audio), [(file, 4000)])
        pack_clips(manifest, tmp_path / "packs", form)
        clips += (tmp_path / "packs" / f"{name}.tsv").read_text().splitlines()[1:]
    (tmp_path / "packs" / "both.tsv").write_text("\n".join([".", *clips]))
    bad = tmp_path / "packs" / f"bad-00000{ending}"
    bad.write_bytes(bad.read_bytes()[:-1000])
    if way == "missing":
        bad.unlink()
    status, out, err = extract(tmp_path / "packs" / "both.tsv")
    assert status == 1
    assert ": 1 clips extracted (" in out and out.endswith(" 1 failed\n")
    assert str(bad) in err.splitlines()[-1]
    assert read(tmp_path / "out").keys() == {f"good-00000{ending}/a"}


def test_the_rate_of_hdf5_packs(extract, tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "a.wav", samples, 32_000, subtype="FLOAT")
    with h5py.File(tmp_path / "pack.h5", "w") as file:
        file["a"] = samples.astype(np.float32)
    status, _, err = extract(tmp_path / "pack.h5" / "a")
    assert status == 1
    assert "found no attribute 'sample_rate'" in err
    assert extract(tmp_path / "pack.h5" / "a", "--hdf5-rate-hz", 32_000)[0] == 0
    assert extract(tmp_path / "a.wav", out="file")[0] == 0
    assert np.array_equal(read(tmp_path / "out")["a"], read(tmp_path / "file")["a"])


def test_a_name_that_is_not_utf8(extract, audio, tmp_path):
    name = os.path.join(tmp_path, os.fsdecode(b"gr\xfcn.wav"))
    shutil.copy(audio / "a.wav", name)
    assert extract(name)[0] == 0
    assert list(read(tmp_path / "out")) == [os.fsdecode(b"gr\xfcn")]


def test_the_longest_names_have_features_and_what_is_longer_fails_alone(extract, audio, tmp_path):
    (audio / "b.flac").rename(audio / f"{'x' * 251}.wav")
    assert extract(audio)[0] == 0
    assert "x" * 251 in read(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "before")
    long = f"{'x' * 252}.au"
    (audio / f"{'x' * 251}.wav").rename(audio / long)
    status, out, err = extract(audio)
    assert status == 1
    assert ": 3 clips extracted (" in out
    assert err.endswith(
        f"failed {audio}/{long}: found a name that is too long for its features, expected a"
        " shorter one\n"
    )
    assert read(tmp_path / "out").keys() == NAMES - {"b"}
