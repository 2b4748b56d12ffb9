import json
import re
import shutil

import h5py
import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import pack_clips

from eat.audio import LogMel, read_audio
from eat.audio.opening import SoundFile
from eat.commands.main import main
from eat.data.manifest import Manifest, write_manifest
from eat.data.sampling import draw_clips
from eat.data.statistics import Statistics, pool_moments


@pytest.fixture(autouse=True)
def one_thread():
    """What the tests compare with is computed as the workers of `eat stats` do, by one thread.

    With two, the matrix product of a single frame adds in another order: 1e-11 in the mean.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def make_manifest(tmp_path):
    """Writes float wav files and a manifest of them."""

    def make_manifest(*sounds, rate_hz=16000):
        for index, samples in enumerate(sounds):
            soundfile.write(tmp_path / f"{index}.wav", samples, rate_hz, subtype="FLOAT")
        entries = [(f"{index}.wav", len(samples)) for index, samples in enumerate(sounds)]
        write_manifest(tmp_path / "train.tsv", ".", entries)
        return tmp_path / "train.tsv"

    return make_manifest


def noise(num_samples, level=0.1, seed=1):
    return np.random.default_rng(seed).standard_normal(num_samples) * level


def stats(capsys, *arguments):
    """Runs `eat stats --json` and returns its status, result and messages."""
    status = main(["stats", "--json", "--workers", "2", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


def log_mel_values(manifest, clips, seconds=10):
    waveforms = [read_audio(manifest.path(i), num_samples=seconds * 16000) for i in clips]
    return torch.cat(
        [LogMel().filter_bank(torch.from_numpy(w)).flatten() for w in waveforms]
    ).double()


def test_every_value_of_every_real_frame_counts_once(make_manifest, capsys):
    path = make_manifest(noise(16000), noise(4000, 0.5, 2), np.zeros(800), noise(400, 0.01, 3))
    status, result, err = stats(capsys, path)

    values = log_mel_values(Manifest(path), range(4))
    assert status == 0
    assert err == ""
    assert result["mean"] == pytest.approx(values.mean().item(), rel=1e-12)
    assert result["std"] == pytest.approx(values.std(correction=0).item(), rel=1e-12)
    assert result["num_clips"] == 4
    assert result["hours_read"] == pytest.approx((16000 + 4000 + 800 + 400) / 16000 / 3600)


def test_the_result_normalises_the_network_input(make_manifest, capsys):
    path = make_manifest(noise(16400))
    _, result, _ = stats(capsys, path)
    log_mel = LogMel(result["mean"], result["std"], target_length=96)
    network_input = log_mel(torch.from_numpy(read_audio(Manifest(path).path(0))[: 95 * 160 + 400]))
    assert network_input.mean().item() == pytest.approx(0, abs=0.01)
    assert network_input.std().item() == pytest.approx(0.5, abs=0.01)


def test_only_the_first_seconds_of_a_clip_are_measured(make_manifest, capsys):
    loud_later = np.concatenate([noise(32000, 0.01), noise(32000, 0.9)])
    path = make_manifest(loud_later)
    _, result, _ = stats(capsys, path, "--max-seconds", 2)

    values = log_mel_values(Manifest(path), [0], seconds=2)
    assert result["mean"] == pytest.approx(values.mean().item(), rel=1e-12)
    assert result["hours_read"] == pytest.approx(2 / 3600)
    whole = LogMel().num_frames(64000)  # lengths are of whole clips
    assert result["frames_percentiles"]["100"] == whole


def test_lengths_count_at_16_khz_and_workers_change_nothing(make_manifest, capsys):
    sounds = [noise(1000 * (2 + index), seed=index) for index in range(11)]
    path = make_manifest(*sounds, noise(44100), rate_hz=44100)
    _, one, _ = stats(capsys, path, "--workers", 1)
    _, three, _ = stats(capsys, path, "--workers", 3)
    assert one == three
    assert one["frames_percentiles"]["100"] == 98


def test_clips_are_drawn_by_the_seed(make_manifest, capsys):
    path = make_manifest(*(noise(800, level, 4) for level in (0.001, 0.01, 0.1, 0.5)))
    _, all_clips, _ = stats(capsys, path, "--max-clips", 0)
    _, two_clips, _ = stats(capsys, path, "--max-clips", 2, "--seed", 3)
    assert all_clips["num_clips"] == 4
    assert two_clips["num_clips"] == 2
    values = log_mel_values(Manifest(path), draw_clips(4, 2, seed=3))
    assert two_clips["mean"] == pytest.approx(values.mean().item(), rel=1e-12)


@pytest.mark.parametrize(
    "frames, target_length",
    [
        *(([98], 112), ([96], 96), ([0, 3], 16), ([998], 1008), ([6000] * 2, 1024)),
        ([98] * 96 + [900] * 4, 112),
    ],
)
def test_target_length_holds_most_clips(frames, target_length):
    assert Statistics(0.0, 1.0, np.array(frames), 1.0, []).target_length == target_length


def test_pooled_moments_are_exact_far_from_zero():
    values = 1e8 + noise(10_000, 1.0)
    parts = np.split(values, [10, 11, 5000])
    sums = [[part.size, part.mean(), ((part - part.mean()) ** 2).sum()] for part in parts]
    mean, std = pool_moments(*np.array(sums).T)
    assert mean == pytest.approx(values.mean(), rel=1e-15)
    assert std == pytest.approx(values.std(), rel=1e-7)


def test_what_is_printed_can_be_pasted(make_manifest, capsys):
    path = make_manifest(noise(16000), noise(8000))
    _, result, _ = stats(capsys, path)
    assert main(["stats", str(path), "--max-clips", "1"]) == 0
    assert main(["stats", str(path)]) == 0
    out = capsys.readouterr().out

    mean, std = f"{result['mean']:.3f}", f"{result['std']:.3f}"
    assert "measured 1 of 2 clips, 0.00 hours\n" in out
    assert "measured 2 of 2 clips, 0.00 hours\n" in out
    assert "shortest 48, median 73, 75 % up to 86, 95 % up to 96, longest 98\n" in out
    assert f"\n  task.mean={mean} task.std={std} task.target_length=96\n" in out
    pasted = yaml.safe_load(out[out.rindex("  task:") :])
    assert pasted == {"task": {"mean": float(mean), "std": float(std), "target_length": 96}}


def test_unusable_clips_are_left_out_and_named(make_manifest, tmp_path, capsys):
    with_nan = noise(800)
    with_nan[7] = np.nan
    path = make_manifest(noise(800), noise(800), noise(399), with_nan, noise(800), noise(800))
    (tmp_path / "1.wav").write_text("hello")
    (tmp_path / "4.wav").unlink()
    status, result, err = stats(capsys, path)

    assert status == 1
    assert result["num_clips"] == 2
    values = log_mel_values(Manifest(path), [0, 5])
    assert result["mean"] == pytest.approx(values.mean().item(), rel=1e-12)
    lines = err.splitlines()
    assert lines[0] == (
        f"failed {tmp_path}/1.wav: not readable as audio: Format not recognised. ({path}:3)"
    )
    assert lines[1:] == [
        f"failed {tmp_path}/2.wav: found 399 samples at 16 kHz, expected at least 400 (25 ms)"
        f" ({path}:4)",
        f"failed {tmp_path}/3.wav: found NaN or infinite samples ({path}:5)",
        f"failed {tmp_path}/4.wav: no such audio file: {tmp_path}/4.wav ({path}:6)",
    ]
    assert [failure["path"] for failure in result["failures"]] == [
        f"{tmp_path}/{index}.wav" for index in (1, 2, 3, 4)
    ]


def test_what_has_no_statistics(make_manifest, tmp_path, capsys):
    path = make_manifest(noise(100), noise(200))
    message = (
        f"{path}: none of 2 clips is usable; the first is {tmp_path}/0.wav: found 100 samples at"
        f" 16 kHz, expected at least 400 (25 ms) ({path}:2)"
    )
    assert stats(capsys, path) == (1, None, f"eat stats: error: {message}\n")
    path = make_manifest(np.zeros(16000), np.zeros(8000))
    message = f"{path}: found only silence, expected sound"
    assert stats(capsys, path) == (1, None, f"eat stats: error: {message}\n")
    path.write_text("/data\na.wav\n")
    status, _, err = stats(capsys, path)
    assert status == 1
    assert re.fullmatch(r"eat stats: error: \S+/train.tsv:2: found 'a.wav' without a tab.*\n", err)


def test_a_folder_is_measured_as_a_manifest_of_its_files(make_manifest, tmp_path, capsys):
    path = make_manifest(*(noise(4000, level, seed) for seed, level in enumerate((0.1, 0.3, 0.5))))
    audio = tmp_path / "audio"
    audio.mkdir()
    for file in tmp_path.glob("*.wav"):
        file.rename(audio / file.name)
    expected = stats(capsys, path.rename(audio / path.name), "--max-clips", 2)
    status, result, err = stats(capsys, audio, "--max-clips", 2)
    assert (status, result) == (0, expected[1])
    assert err == f"{audio}: left out 1 other files: 1 .tsv\n"
    alone = stats(capsys, audio / "1.wav")[1]
    assert (alone["num_clips"], alone["mean"]) != (3, result["mean"])
    assert stats(capsys, f"{audio}/1.wav/0.0-0.25")[1] == alone
    (audio / "sub").mkdir()
    (audio / "sub" / "bad.wav").write_text("hello")
    status, result, err = stats(capsys, audio)
    assert (status, result["num_clips"]) == (1, 3)
    assert f"failed {audio}/sub/bad.wav: not readable as audio" in err
    assert main(["stats", str(tmp_path / "audio" / "sub")]) == 1
    assert "sub: none of 1 clips is usable; the first is" in capsys.readouterr().err


def test_clips_that_are_silent_where_they_are_measured_are_named(make_manifest, tmp_path, capsys):
    late = np.concatenate([np.full(32_000, 0.1), noise(8000)])
    path = make_manifest(noise(8000), late, np.zeros(800), late[1:])
    _, result, _ = stats(capsys, path, "--max-seconds", 2)
    assert result["silent"] == [f"{tmp_path}/1.wav", f"{tmp_path}/2.wav"]
    assert main(["stats", str(path), "--max-seconds", "2"]) == 0
    line = "2 clips are silent in the first 2 s or throughout: {0}/1.wav, {0}/2.wav\n"
    assert line.format(tmp_path) in capsys.readouterr().out


def test_packs(make_manifest, tmp_path, capsys):
    """The same as of the files; of HDF5 data without a rate, that of the option counts."""
    files = make_manifest(noise(16_000), noise(20_000, level=0.01), rate_hz=22_050)
    expected = stats(capsys, files)[1]
    for kind in ("zip", "hdf5"):
        pack_clips(files, tmp_path / kind, kind)
        capsys.readouterr()
        assert stats(capsys, f"{tmp_path / kind}/train.tsv") == (0, expected, "")
    shutil.copytree(tmp_path / "hdf5", tmp_path / "copy")  # the other one is open
    with h5py.File(tmp_path / "copy" / "train-00000.h5", "a") as pack:
        for name in ("0.wav", "1.wav"):
            del pack[name].attrs["sample_rate"]
    path = tmp_path / "copy" / "train.tsv"
    assert stats(capsys, path, "--hdf5-rate-hz", 22_050)[1] == expected
    status, _, err = stats(capsys, path)
    assert status == 1
    assert "found no attribute 'sample_rate'" in err


def test_a_streamed_file_is_decoded_only_as_far_as_it_is_measured(capsys, tmp_path, monkeypatch):
    """Its header does not tell its length; the manifest does."""
    soundfile.write(tmp_path / "a.flac", noise(30 * 16000), 16000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the number of samples is unknown
    (tmp_path / "a.flac").write_bytes(content)
    write_manifest(tmp_path / "train.tsv", ".", [("a.flac", 30 * 16000)])
    read, decoded = SoundFile.read, []

    def count(*arguments, **options):
        samples = read(*arguments, **options)
        decoded.append(len(samples))
        return samples

    monkeypatch.setattr(SoundFile, "read", count)
    status, found, _ = stats(capsys, tmp_path / "train.tsv", "--max-seconds", 2)
    assert status == 0 and found["frames_percentiles"]["50"] == LogMel().num_frames(30 * 16000)
    assert sum(decoded) == 2 * 16000
