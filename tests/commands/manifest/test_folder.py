import os
import re

import numpy as np
import pytest
import soundfile

from eat.commands.main import main
from eat.commands.manifest.clips import find_audio
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
def list_folder(tmp_path):
    """Runs `eat manifest folder` on `tmp_path / "audio"`."""

    def list_folder(*options):
        (tmp_path / "audio").mkdir(exist_ok=True)
        out = tmp_path / "mine"
        return main(["manifest", "folder", str(tmp_path / "audio"), "--out", str(out), *options])

    return list_folder


def clips_of(path):
    manifest = Manifest(path)
    return {manifest.relative_path(i): int(manifest.num_samples[i]) for i in range(len(manifest))}


def paths_below(folder, extensions=("wav",)):
    return find_audio(str(folder), extensions).paths


def test_all_formats_in_all_folders_are_listed(write_sound, list_folder, tmp_path, capsys):
    write_sound("b.wav", 800, 8000)
    write_sound("a/deep er/é\t夜.flac", 4410, 44100, num_channels=2)
    write_sound("A.WAV", 500)
    write_sound("c.ogg", 1600)
    write_sound("d.mp3", 2304)
    write_sound(".hidden.aiff", 7)
    (tmp_path / "audio" / "notes.txt").write_text("")
    (tmp_path / "audio" / "README").write_text("")

    assert list_folder("--valid-fraction", "0") == 0
    assert clips_of(tmp_path / "mine" / "train.tsv") == {
        ".hidden.aiff": 7,
        "A.WAV": 500,
        "a/deep er/é\t夜.flac": 4410,  # per channel, at the file's own rate
        "b.wav": 800,
        "c.ogg": 1600,
        "d.mp3": 2304,
    }
    assert Manifest(tmp_path / "mine" / "train.tsv").root == str(tmp_path / "audio")
    assert os.listdir(tmp_path / "mine") == ["train.tsv"]
    out, err = capsys.readouterr()
    assert "train.tsv: 6 clips, 0.00 hours" in out
    assert "sample rates: 16000 Hz (4 clips), " in out
    assert "44100 Hz (1 clips)" in out
    assert "channels: 1 (5 clips), 2 (1 clips)" in out
    assert "not looked at: 2 other files: 1 without extension, 1 .txt" in err


def test_validation_clips_are_drawn_by_the_seed(write_sound, list_folder, tmp_path):
    for index in range(20):
        write_sound(f"{index}.wav", 100 + index)

    def split(*options):
        assert list_folder("--force", "--valid-fraction", "0.3", *options) == 0
        return [list(clips_of(tmp_path / "mine" / f"{name}.tsv")) for name in ("train", "valid")]

    train, valid = split("--seed", "1")
    assert len(valid) == 6
    assert sorted(train + valid) == sorted(f"{index}.wav" for index in range(20))
    assert train == sorted(train)
    assert split("--seed", "1", "--workers", "1") == [train, valid]
    assert split("--seed", "2") != [train, valid]


def test_unreadable_files_are_left_out_and_listed(write_sound, list_folder, tmp_path, capsys):
    write_sound("good.wav")
    write_sound("nothing.wav", 0)
    folder = tmp_path / "audio"
    (folder / "text.wav").write_text("hello")
    (folder / "empty.flac").write_bytes(b"")
    (folder / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(folder / "pipe.wav")
    write_sound("ok.wav").rename(folder / "two\nlines.wav")

    assert list_folder("--valid-fraction", "0") == 1
    assert list(clips_of(tmp_path / "mine" / "train.tsv")) == ["good.wav"]
    lines = (tmp_path / "mine" / "unreadable.tsv").read_text().splitlines()
    reasons = dict(line.split("\t") for line in lines)
    assert reasons.pop("empty.flac").startswith("not readable as audio")
    assert reasons.pop("text.wav").startswith("not readable as audio")
    assert reasons == {
        "gone.wav": "not a file, or a broken link",
        "nothing.wav": "no samples",
        "pipe.wav": "not a file, or a broken link",
        "two\\nlines.wav": "a line break in its name, which a manifest cannot hold",
    }
    error = capsys.readouterr().err
    assert f"left out 6 files, listed in {tmp_path}/mine/unreadable.tsv; the first is" in error


def test_a_stream_of_unknown_length_is_left_out(write_sound, list_folder, tmp_path):
    write_sound("good.wav")
    path = write_sound("stream.flac")
    header = bytearray(path.read_bytes())
    header[21] &= 0xF0  # the 36 bits of the number of samples; 0 means unknown
    header[22:26] = bytes(4)
    path.write_bytes(header)

    assert list_folder() == 1
    assert (tmp_path / "mine" / "unreadable.tsv").read_text() == (
        "stream.flac\tfound a stream of unknown length, expected a finished file (re-encode it)\n"
    )


def test_no_readable_file(list_folder, tmp_path, capsys):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "text.wav").write_text("hello")
    assert list_folder() == 1
    assert re.fullmatch(
        r"eat manifest: error: \S+/audio: none of 1 audio files is usable; the reasons are in"
        r" \S+/mine/unreadable.tsv\n",
        capsys.readouterr().err,
    )
    assert os.listdir(tmp_path / "mine") == ["unreadable.tsv"]


def test_no_audio_file(list_folder, tmp_path, capsys):
    assert list_folder("--extensions", "wav", "flac") == 1
    (tmp_path / "audio" / "a.m4a").write_text("")
    assert list_folder("--extensions", "wav", "flac") == 1
    start = f"eat manifest: error: {tmp_path}/audio: found no audio file"
    assert capsys.readouterr().err.splitlines() == [
        f"{start} (no file at all), expected names ending in .wav .flac",
        f"{start} (1 other files: 1 .m4a), expected names ending in .wav .flac",
    ]
    assert not (tmp_path / "mine").exists()


def test_no_such_folder(tmp_path, capsys):
    assert main(["manifest", "folder", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 1
    assert f"error: {tmp_path}/no: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("fraction", ["1", "-0.1", "few"])
def test_an_impossible_fraction(list_folder, capsys, fraction):
    with pytest.raises(SystemExit) as exit:
        list_folder("--valid-fraction", fraction)
    assert exit.value.code == 2
    expected = f"--valid-fraction: found '{fraction}', expected a number of at least 0 and below 1"
    assert expected in capsys.readouterr().err


def test_existing_manifests_are_kept_unless_forced(write_sound, list_folder, tmp_path, capsys):
    mine = tmp_path / "mine"
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "bad.wav").write_text("hello")
    write_sound("a.wav")
    write_sound("b.wav")
    assert list_folder() == 1
    assert sorted(os.listdir(mine)) == ["train.tsv", "unreadable.tsv", "valid.tsv"]

    before = (mine / "train.tsv").read_bytes()
    capsys.readouterr()
    assert list_folder() == 1
    assert capsys.readouterr().err == (
        f"eat manifest: error: {mine}/train.tsv: exists already (--force replaces it)\n"
    )
    assert (mine / "train.tsv").read_bytes() == before

    # Nothing of the earlier run may stay: its valid.tsv shares clips with the new train.tsv.
    (tmp_path / "audio" / "bad.wav").unlink()
    assert list_folder("--force", "--valid-fraction", "0") == 0
    assert os.listdir(mine) == ["train.tsv"]
    assert list(clips_of(mine / "train.tsv")) == ["a.wav", "b.wav"]


def test_only_the_given_extensions_in_any_spelling(write_sound, tmp_path):
    for name in ("a.wav", "b.WAV", "c.flac", "d.ogg"):
        write_sound(name)
    assert paths_below(tmp_path / "audio", [".Wav", "ogg"]) == ["a.wav", "b.WAV", "d.ogg"]


def test_links_are_followed_but_no_folder_is_listed_twice(write_sound, tmp_path):
    write_sound("music/a.wav")
    write_sound("speech/b.wav")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_sound("c.wav").rename(elsewhere / "c.wav")
    folder = tmp_path / "audio"
    (folder / "more").symlink_to(elsewhere)
    (folder / "music" / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder / "speech")
    (folder / "file.wav").symlink_to(elsewhere / "c.wav")

    paths = paths_below(folder)
    assert paths == ["again/b.wav", "file.wav", "more/c.wav", "music/a.wav"]
    assert paths_below(f"{folder}/") == paths


def test_a_folder_that_cannot_be_opened_is_reported(
    write_sound, list_folder, tmp_path, monkeypatch, capsys
):
    write_sound("open/a.wav")
    write_sound("closed/b.wav")
    real_scandir = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list_folder() == 1
    assert (tmp_path / "mine" / "unreadable.tsv").read_text() == "closed\tPermission denied\n"
    (tmp_path / "audio" / "open" / "a.wav").unlink()
    assert list_folder("--force") == 1
    assert "found no audio file (closed: Permission denied), expected" in capsys.readouterr().err
