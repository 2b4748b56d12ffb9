"""Several extractions that fill one folder: shards, and two of the same at once."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from helpers import locked_elsewhere, write_clips
from safetensors.numpy import load_file

from eat.commands.main import main
from eat.features.sharding import Shard
from eat.features.storage import FeatureStore, open_features

FORMATS = ("npy", "npz", "safetensors")
NAMES = ("clip 0", "clip 1.flac", "clip 1.wav", "clip 2", "clip 3", "clip 4")


@pytest.fixture
def audio(tmp_path):
    """Six clips, of which two would have features of one name."""
    folder = tmp_path / "audio"
    write_clips(folder, 5)
    soundfile.write(folder / "clip 1.flac", np.full(8000, 0.1), 16_000)
    return folder


@pytest.fixture
def command(official_pretrain, tmp_path):
    """`command(out, ...)` is the command line of an extraction into that folder."""

    def command(out, *options):
        command = [sys.executable, "-m", "eat.commands.main", "extract", str(tmp_path / "audio")]
        command += ["--checkpoint", official_pretrain, "--out", str(tmp_path / out)]
        return [*command, "--granularity", "utterance", *options]

    return command


@pytest.fixture
def extract(command, capsys):
    """`extract(out, ...)` runs it in this process; returns status, out, err."""

    def extract(out, *options):
        return (main(command(out, *options)[3:]), *capsys.readouterr())

    return extract


def read(folder):
    return {name: load() for name, load in open_features(str(folder)).items()}


def below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [2, 9])
def test_shards_in_any_order_are_one_run(extract, audio, tmp_path, format, count):
    # One clip in a batch, as the sums of a matrix product depend on the number of its rows.
    options = ("--batch-size", "1", "--format", format)
    assert extract("one", *options)[0] == 0
    nums = []
    for number in sorted(range(1, count + 1), key=lambda number: -number % 4):
        status, out, _ = extract("shards", *options, "--shard", f"{number}/{count}")
        nums.append(int(re.search(r": (\d+) clips extracted", out)[1]))
        assert status == 0 and " 0 were there already, 0 failed" in out
    assert sum(nums) == 6 and max(nums) < 6
    expected, found = read(tmp_path / "one"), read(tmp_path / "shards")
    assert found.keys() == expected.keys() > {"clip 1.wav", "clip 1.flac"}
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    if format == "npy":
        assert below(tmp_path / "shards") == below(tmp_path / "one")
        return
    files = [f"features-{number}-of-{count}.{format}" for number in range(1, count + 1)]
    assert below(tmp_path / "shards") == sorted([*files, "settings.json"])
    load = np.load if format == "npz" else load_file
    contents = [set(load(tmp_path / "shards" / file)) for file in files]
    assert sum(map(len, contents)) == 6


def test_an_interrupted_shard_goes_on(extract, audio, tmp_path):
    options = ("--format", "npz", "--shard", "1/2")
    assert extract("out", *options)[0] == 0
    arrays = read(tmp_path / "out")
    (tmp_path / "out" / "features-1-of-2.npz").unlink()
    name = sorted(arrays)[0]
    FeatureStore(str(tmp_path / "out"), "npz", shard=Shard(1, 2)).write(name, arrays[name])
    status, out, _ = extract("out", *options)
    assert status == 0
    assert f": {len(arrays) - 1} clips extracted" in out and " 1 were there already" in out
    assert read(tmp_path / "out").keys() == arrays.keys()


def test_an_empty_shard_has_a_file_with_times(extract, audio, tmp_path):
    number = next(n for n in range(1, 10) if not any(map(Shard(n, 9).holds, NAMES)))
    options = ("--format", "npz", "--granularity", "time", "--shard", f"{number}/9")
    status, out, _ = extract("out", *options)
    assert status == 0 and ": 0 clips extracted" in out
    assert read(tmp_path / "out")["times"].shape == (0,)


def test_files_of_different_numbers_of_shards_are_refused(extract, audio):
    assert extract("out", "--format", "npz", "--shard", "1/2")[0] == 0
    for options, found in ((["--shard", "1/3"], 3), ([], None)):
        status, _, err = extract("out", "--format", "npz", *options)
        assert status == 1
        assert f"made with other settings, shards={found} (there: 2); expected" in err


def test_files_per_clip_have_any_number_of_shards(extract, audio, tmp_path):
    assert extract("out", "--shard", "1/2")[0] == extract("out", "--shard", "2/3")[0] == 0
    assert extract("out")[0] == 0
    assert read(tmp_path / "out").keys() == set(NAMES)


def test_shards_are_made_only_when_they_are_asked_for(extract, audio, tmp_path, monkeypatch):
    for name, value in {"ID": 2, "MIN": 1, "MAX": 2, "COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert ": 6 clips extracted" in extract("all")[1]
    assert extract("part", "--shard", "auto")[0] == 0
    assert read(tmp_path / "part").keys() == {n for n in NAMES if Shard(2, 2).holds(n)}


def test_wrong_usage(extract, capsys):
    with pytest.raises(SystemExit) as exit:
        extract("out", "--shard", "5/4")
    assert exit.value.code == 2
    assert "argument --shard: shard: found 5/4, expected I/N with I from 1 to N" in (
        capsys.readouterr().err
    )


def test_a_run_that_starts_does_not_disturb_those_that_write(tmp_path):
    # It takes the unfinished files of the others for those of killed runs.
    def run(number):
        for _ in range(30):
            store = FeatureStore(str(tmp_path))
            store.claim(["a", "b"], {"layers": "last"}, {})
            for name in ("a", "b"):
                store.write(name, np.full(1000, 7.0))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(run, range(3)))
    assert below(tmp_path) == ["a.npy", "b.npy", "settings.json"]
    assert all((array == 7).all() for array in read(tmp_path).values())


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None
        time.sleep(0.01)


def test_a_second_writer_of_one_file_is_refused_until_the_first_is_killed(
    command, extract, audio, tmp_path
):
    lock = tmp_path / "out" / "features.npz.lock"
    lock.parent.mkdir()
    with locked_elsewhere(lock) as owner:
        status, _, err = extract("out", "--format", "npz")
        assert status == 1
        assert err.splitlines()[-1].startswith(
            f"eat extract: error: {lock}: in use by process {owner.pid} on {socket.gethostname()}"
        )
        assert "Traceback" not in err and below(tmp_path / "out") == [lock.name]
        assert extract("out", "--format", "npz", "--shard", "1/2")[0] == 0  # another file
        (tmp_path / "out" / "settings.json").unlink()
        owner.send_signal(signal.SIGKILL)
    assert lock.exists()
    assert extract("out", "--format", "npz")[0] == 0
    assert not lock.exists()
    with np.load(tmp_path / "out" / "features.npz") as found:
        assert set(found) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", "npz"])
def test_four_shards_of_2000_clips_as_processes_are_one_run(command, tmp_path, format):
    """One of the four is killed and started again."""
    write_clips(tmp_path / "audio", 2000)
    options = ("--format", format, "--workers", "1")
    subprocess.run(command("one", *options), check=True)
    environment = {**os.environ, "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_MAX": "16"}
    environment["SLURM_ARRAY_TASK_COUNT"] = "4"
    line = command("shards", *options, "--shard", "auto")
    shards = {
        task: subprocess.Popen(line, env={**environment, "SLURM_ARRAY_TASK_ID": task})
        for task in ("16", "10", "14", "12")
    }
    wait_for(lambda: len([*(tmp_path / "shards").rglob("*.npy")]) > 100, shards["14"])
    shards["14"].kill()
    assert shards["14"].wait() == -signal.SIGKILL
    shards["14"] = subprocess.Popen(line, env={**environment, "SLURM_ARRAY_TASK_ID": "14"})
    assert [shard.wait() for shard in shards.values()] == [0] * 4

    expected, found = read(tmp_path / "one"), read(tmp_path / "shards")
    assert found.keys() == expected.keys() and len(expected) == 2000
    assert max(np.abs(found[name] - expected[name]).max() for name in expected) < 2e-6
    names = {
        "npy": [f"{name}.npy" for name in expected],
        "npz": [f"features-{number}-of-4.npz" for number in range(1, 5)],
        "safetensors": [f"features-{number}-of-4.safetensors" for number in range(1, 5)],
    }
    assert below(tmp_path / "shards") == sorted([*names[format], "settings.json"])


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", "npz"])
def test_two_runs_of_800_clips_into_one_folder_at_once(command, tmp_path, format):
    write_clips(tmp_path / "audio", 800)
    line = command("out", "--format", format, "--workers", "1")
    runs = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]
    statuses = [run.returncode for run in runs]
    if format == "npy":
        assert statuses == [0, 0]
    else:
        assert sorted(statuses) == [0, 1]
        refused, owner = (statuses.index(status) for status in (1, 0))
        assert f"in use by process {runs[owner].pid} on" in errors[refused]
    assert len(read(tmp_path / "out")) == 800
    others = {"settings.json"} | ({f"features.{format}"} if format != "npy" else set())
    assert {name for name in below(tmp_path / "out") if not name.endswith(".npy")} == others
