import os
import shutil
import zipfile
from itertools import count

import numpy as np
import pytest
import soundfile
from helpers import pack_clips, write_clips, write_tsv

from eat.audio import AudioError, audio_info, read_audio
from eat.audio.packing import ZipPack
from eat.commands.main import main
from eat.data.manifest import Manifest, write_manifest
from eat.data.split import open_split

NOISE = 0.1 * np.random.default_rng(0).standard_normal(8_000)


def pack(folder, *options, out="packs"):
    out = ["--out", f"{folder}/{out}"]
    return main(["manifest", "pack", f"{folder}/train.tsv", *out, *options])


def packed(folder):
    return Manifest(folder / "packs" / "train.tsv")


@pytest.fixture
def clips(tmp_path):
    """A folder with 8 clips, train.tsv and train.lbl."""
    entries = write_clips(tmp_path / "audio", 8)
    write_tsv(tmp_path / "train.tsv", tmp_path / "audio", entries)
    (tmp_path / "label_descriptors.csv").write_text('0,a,"bird, any"\n1,b,"rain"\n')
    labels = [f"{name}\t{'ab'[i % 2]}\n" for i, (name, _) in enumerate(entries)]
    (tmp_path / "train.lbl").write_text("".join(labels))
    return tmp_path


def test_packed_clips_are_the_clips(clips, capsys):
    assert pack(clips, "--pack-gb", "0.00005") == 0
    assert "train.tsv: 8 clips in" in capsys.readouterr().out
    shutil.move(clips / "packs", clips / "elsewhere")
    before, after = Manifest(clips / "train.tsv"), Manifest(clips / "elsewhere" / "train.tsv")
    assert after.num_samples.tolist() == before.num_samples.tolist()
    assert len({after.relative_path(i).split(":")[0].split("/")[0] for i in range(8)}) > 2
    for index in range(len(before)):
        assert np.array_equal(read_audio(after.path(index)), read_audio(before.path(index)))
    split = open_split(str(clips / "elsewhere"), "train")
    assert [label.name for label in split.descriptors] == ["bird, any", "rain"]
    assert [split.clip(i).labels for i in range(8)] == [("a",), ("b",)] * 4
    assert pack(clips, out="one") == 0
    with zipfile.ZipFile(clips / "one" / "train-00000.zip") as archive:
        for file in (clips / "audio").iterdir():
            assert archive.read(file.name) == file.read_bytes()


def test_any_file_is_packed_without_loss(tmp_path):
    names = []
    for suffix, subtype in [
        *(("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "PCM_32"), ("wav", "PCM_U8")),
        *(("wav", "FLOAT"), ("wav", "DOUBLE"), ("wav", "ULAW"), ("flac", "PCM_16")),
        *(("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_S8")),
    ]:
        names.append(f"{subtype}.{suffix}")
        soundfile.write(tmp_path / names[-1], np.stack([NOISE, -NOISE / 3], 1), 44_100, subtype)
    names.append(os.fsdecode(b"gr\xfcn/\xe4.wav"))
    os.mkdir(os.path.join(tmp_path, os.path.dirname(names[-1])))
    soundfile.write(os.fsencode(os.path.join(tmp_path, names[-1])), NOISE, 16_000)
    write_manifest(tmp_path / "train.tsv", str(tmp_path), [(name, 8_000) for name in names])
    assert pack(tmp_path) == 0
    for index, name in enumerate(names):
        file, clip = os.path.join(tmp_path, name), packed(tmp_path).path(index)
        assert audio_info(clip) == audio_info(file)
        assert np.array_equal(read_audio(clip), read_audio(file))


def test_what_cannot_be_read_is_left_out(clips, capsys):
    (clips / "audio" / "clip 2.wav").write_text("hello")
    (clips / "audio" / "clip 5.wav").unlink()
    assert pack(clips) == 1
    assert "6 clips in 1 packs, 0.00 GB; 2 left out" in capsys.readouterr().out
    reasons = (clips / "packs" / "train.unreadable.tsv").read_text().splitlines()
    assert reasons[0] == "clip 2.wav\tnot readable as audio: Format not recognised."
    assert reasons[1].startswith("clip 5.wav\tno such audio file")
    split = open_split(str(clips / "packs"), "train")
    assert [split.clip(i).labels[0] for i in range(6)] == list("abbaab")


def test_clips_of_a_missing_archive_are_left_out(clips):
    with (clips / "train.tsv").open("a") as file:
        file.write("away.tar:512:32044\t16000\n")
    (clips / "train.lbl").unlink()
    assert pack(clips) == 1
    assert len(packed(clips)) == 8
    (left_out,) = (clips / "packs" / "train.unreadable.tsv").read_text().splitlines()
    assert left_out.startswith("away.tar:512:32044\tno such pack of audio: ")


@pytest.mark.parametrize("size", ["2", "0"])  # in GB: all clips in one pack, each in its own
def test_a_pack_whose_clips_are_all_refused_is_not_kept(clips, monkeypatch, size):
    """Formats that libsndfile knows by the file's extension alone cannot be in packs."""
    add = ZipPack.add

    def refuse(pack, name, content):
        if name in refused:
            raise AudioError(f"{name}: not readable as audio: Format not recognised.")
        add(pack, name, content)

    monkeypatch.setattr(ZipPack, "add", refuse)
    refused = [f"clip {index}.wav" for index in range(8)]
    assert pack(clips, "--pack-gb", size) == 1
    assert os.listdir(clips / "packs") == ["train.unreadable.tsv"]
    del refused[2:-1]
    assert pack(clips, "--pack-gb", size) == 1
    assert len(packed(clips)) == 5
    packs = sorted(path.name for path in (clips / "packs").glob("*.zip"))
    assert packs == [f"train-{n:05}.zip" for n in range(1 if size == "2" else 5)]


def test_a_clip_that_is_listed_twice_is_packed_once(clips):
    write_tsv(clips / "train.tsv", clips / "audio", [("clip 0.wav", 8_000)] * 3)
    (clips / "train.lbl").unlink()
    assert pack(clips) == 0
    assert len({packed(clips).path(index) for index in range(3)}) == 1
    assert len(zipfile.ZipFile(clips / "packs" / "train-00000.zip").namelist()) == 1


def test_an_interrupted_run_goes_on_with_the_next_pack(clips, monkeypatch, capsys):
    options = ["--pack-gb", "0.00005", "--workers", "1"]
    (clips / "audio" / "clip 1.wav").write_text("hello")
    load = ZipPack.load

    def interrupt(path):
        if path.endswith("clip 6.wav"):
            raise KeyboardInterrupt
        return load(path)

    monkeypatch.setattr(ZipPack, "load", staticmethod(interrupt))
    assert pack(clips, *options) == 130
    complete = sorted((clips / "packs").iterdir())
    assert 0 < len(complete) < 5
    assert all(path.suffix == ".zip" for path in complete)
    times = [path.stat().st_mtime_ns for path in complete]

    killed = clips / "packs" / f".train-{len(complete):05}.zip.123.tmp"
    killed.write_text("half a pack")
    loaded = []
    monkeypatch.setattr(ZipPack, "load", staticmethod(lambda *a: loaded.append(a[0]) or load(*a)))
    assert pack(clips, *options) == 1
    assert [path.stat().st_mtime_ns for path in complete] == times
    assert 0 < len(loaded) < 8
    assert not killed.exists()
    assert len(packed(clips)) == 7
    for index, clip in enumerate([0, 2, 3, 4, 5, 6, 7]):
        file = clips / "audio" / f"clip {clip}.wav"
        assert np.array_equal(read_audio(packed(clips).path(index)), read_audio(file))


def test_packs_of_another_manifest_are_not_continued(clips, capsys):
    assert pack(clips) == 0
    for name in ("train.tsv", "train.lbl"):
        (clips / "packs" / name).unlink()
    write_tsv(clips / "train.tsv", clips / "audio", [("clip 3.wav", 8_000), ("clip 4.wav", 8_000)])
    (clips / "train.lbl").unlink()
    assert pack(clips) == 1
    assert "train-00000.zip: found 'clip 0.wav' where" in capsys.readouterr().err
    assert pack(clips, "--force") == 0
    assert len(packed(clips)) == 2


def test_existing_manifests_are_kept(clips, capsys):
    assert pack(clips) == 0
    assert pack(clips) == 1
    assert "packs/train.tsv: exists already (--force replaces it)" in capsys.readouterr().err
    assert main(["manifest", "pack", f"{clips}/train.tsv", "--out", str(clips)]) == 1
    assert "--out: found the folder of" in capsys.readouterr().err


def test_a_pack_that_differs_from_the_files_does_not_count(clips, monkeypatch, capsys):
    checksums = count()
    monkeypatch.setattr("eat.audio.packing.zlib.crc32", lambda content: next(checksums))
    assert pack(clips) == 1
    assert "found other bytes in the pack than in the file" in capsys.readouterr().err
    assert not list((clips / "packs").iterdir())


def test_nothing_to_pack(clips, capsys):
    shutil.rmtree(clips / "audio")
    assert pack(clips) == 1
    reasons = f"the reasons are in {clips}/packs/train.unreadable.tsv, first clip 0.wav: no such"
    assert f"none of 8 clips is usable; {reasons} " in capsys.readouterr().err


def test_packs_are_packed_again(clips):
    assert pack(clips) == 0
    assert pack(clips / "packs", out="again") == 0
    after = Manifest(clips / "packs" / "again" / "train.tsv")
    for index, clip in enumerate(sorted((clips / "audio").iterdir())):
        assert np.array_equal(read_audio(after.path(index)), read_audio(clip))


def test_samples_in_hdf5_are_not_packed(clips, capsys):
    """They are no files, which is what a zip holds."""
    pack_clips(clips / "train.tsv", clips / "hdf5", "hdf5")
    assert pack(clips / "hdf5") == 1
    left_out = (clips / "hdf5" / "packs" / "train.unreadable.tsv").read_text().splitlines()
    expected = "found HDF5 data, expected an audio file: a zip holds files"
    assert left_out[0] == f"train-00000.h5/clip 0.wav\t{expected}"
    assert len(left_out) == 8
