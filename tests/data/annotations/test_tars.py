"""Tars of clips and labels, as webdataset has them."""

import io
import os
import re
import shutil
import subprocess
import tarfile
import time

import numpy as np
import pytest
import soundfile

from eat.audio import AudioError, read_audio
from eat.audio.packs import Member, find_pack, list_tar, name_in_tar, spell_out
from eat.commands.main import main
from eat.data.manifest import Manifest
from eat.data.split import open_split
from eat.figures.network import read_vectors


def sound(seed=0, ending="flac", num_samples=800):
    """The bytes of a short sound."""
    file = io.BytesIO()
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples)
    soundfile.write(file, samples, 16_000, format=ending.upper())
    return file.getvalue()


@pytest.fixture
def write_tar(audio):
    """Writes a tar of members, (name, bytes) each, below `audio`; returns its path."""

    def write_tar(name, members, **kwargs):
        path = audio / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", **kwargs) as archive:
            for member, content in members:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return write_tar


def labels_of(out, split="train"):
    clips = open_split(out, split)
    names = spell_out_all(clips.manifest)
    return {name: clips.clip(clip).labels for clip, name in enumerate(names)}


def spell_out_all(manifest):
    return [spell_out(path, manifest.root) for path in manifest.relative_paths()]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_clips_are_listed_by_their_bytes(write_tar, list_folder, audio, out, form):
    long = "d" * 90 + "/" + "e" * 90
    names = ["./b.flac", "a/x.1.wav", f"{long}/z.flac", "/abs/../up.ogg", "é夜.flac"]
    contents = [sound(n, name.rsplit(".")[-1]) for n, name in enumerate(names)]
    write_tar("sub/s-00.tar", zip(names, contents, strict=True), format=form)
    write_tar("s-01.tar", [("b.flac", sound(9)), ("b.json", b"{}")], format=form)

    assert list_folder("--valid-fraction", "0") == 0
    manifest = Manifest(out / "train.tsv")
    assert manifest.root == str(audio)
    found = dict(zip(spell_out_all(manifest), range(len(manifest)), strict=True))
    expected = ["b.flac", "a/x.1.wav", f"{long}/z.flac", "up.ogg", "é夜.flac"]
    assert sorted(found) == sorted(["s-01.tar/b.flac", *(f"sub/s-00.tar/{n}" for n in expected)])
    for name, content in zip(expected, contents, strict=True):
        clip = found[f"sub/s-00.tar/{name}"]
        assert re.fullmatch(r"sub/s-00\.tar:[0-9]+:[0-9]+", manifest.relative_path(clip))
        samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
        assert np.array_equal(read_audio(manifest.path(clip)), samples)
        assert manifest.clip_samples(clip) == len(samples)


def test_a_tar_itself_and_extraction(write_tar, list_clips, out, tmp_path, official_pretrain):
    members = [("a.left.wav", sound(0, "wav")), ("a.right.wav", sound(1, "wav"))]
    tar = write_tar("s.tar", [*members, ("x/a.flac", sound(2)), ("x/a.wav", sound(3, "wav"))])
    assert list_clips("folder", tar, "--valid-fraction", 0) == 0
    assert Manifest(out / "train.tsv").root == str(tar.parent)
    options = ["--checkpoint", official_pretrain, "--granularity", "utterance", "--out"]
    for number, given in enumerate((tar, tar.parent, out / "train.tsv")):
        assert main(["extract", str(given), *options, str(tmp_path / str(number))]) == 0
        folder = tmp_path / str(number) / "s.tar"
        features = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy"))
        assert features == ["a.left.npy", "a.right.npy", "x/a.flac.npy", "x/a.wav.npy"]
    vectors, failures = read_vectors(str(tmp_path / "2"), Manifest(out / "train.tsv"), range(4))
    assert (sorted(vectors), failures) == ([0, 1, 2, 3], [])


@pytest.mark.parametrize(
    ("source", "contents", "expected"),
    [
        ("cls", {"a.cls": b"10\n", "b.cls": b"9", "c.v2.cls": b"9"}, ("10", "9", "9")),
        ("txt", {"a.txt": b"wren\nrobin\n", "b.txt": "\ufeffé".encode(), "c.txt": b"wren"}, None),
        (
            "json:tags",
            {"a.json": b'{"tags": ["x", 3]}', "b.json": b'{"tags": "y"}', "c.json": b'{"tags": 3}'},
            (("x", "3"), "y", "3"),
        ),
    ],
)
def test_labels_beside_the_clips(
    write_tar, list_folder, audio, out, capsys, source, contents, expected
):
    """In tars, and in plain folders."""
    expected = expected or (("wren", "robin"), "é", "wren")
    expected = [(ids,) if isinstance(ids, str) else ids for ids in expected]
    files = {"d.1/a.flac": sound(0), "d.1/b.flac": sound(1), "d.1/c.v2.flac": sound(2)}
    files |= {f"d.1/{name}": content for name, content in contents.items()}
    write_tar("s.tar", files.items())
    assert list_folder("--labels-from", source, "--valid-fraction", 0) == 0
    printed, err = capsys.readouterr()
    assert "clips per class: " in printed and "not looked at" not in err
    labels = labels_of(out)
    assert [labels[f"s.tar/d.1/{name}.flac"] for name in ("a", "b", "c.v2")] == expected
    with tarfile.open(audio / "s.tar") as archive:
        archive.extractall(audio, filter="data")
    os.remove(audio / "s.tar")
    assert list_folder("--labels-from", source, "--valid-fraction", 0, "--force") == 0
    labels = labels_of(out)
    assert [labels[f"d.1/{name}.flac"] for name in ("a", "b", "c.v2")] == expected


def test_clips_without_usable_labels_are_named(write_tar, list_folder, out):
    texts = (b'{"tag": "x"}', b'{"label": 1}', b"[]", b"{", b"\xff", b"", b'{"tag": 1.5}')
    files = {f"{n}.json": text for n, text in enumerate(texts)}
    files |= {f"{n}.flac": sound(n) for n in range(9)}
    write_tar("s.tar", [*files.items()])
    assert list_folder("--labels-from", "json:tag", "--valid-fraction", 0) == 1
    assert labels_of(out) == {"s.tar/0.flac": ("x",)}
    lines = dict(line.split("\t") for line in (out / "unreadable.tsv").read_text().splitlines())
    assert len(lines) == 8
    for clip, message in {
        1: r"s\.tar/1\.json: found the fields label, expected 'tag'",
        2: r"s\.tar/2\.json: found no object, expected 'tag'",
        3: r"s\.tar/3\.json: Expecting property name",
        4: r"s\.tar/4\.json: 'utf-8' codec can't decode",
        5: r"s\.tar/5\.json: Expecting value",
        6: r"s\.tar/6\.json: tag: found 1\.5, expected text, a whole number or a list",
        7: r"no label: there is no 7\.json",
    }.items():
        assert re.match(message, lines[f"s.tar/{clip}.flac"])


def test_members_that_are_no_files_and_second_ones(write_tar, list_folder, audio, out, capsys):
    path = write_tar("s.tar", [("a.flac", sound(0)), ("a.flac", sound(1)), ("b.cls", b"")])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("c.flac")
        link.type, link.linkname = tarfile.LNKTYPE, "a.flac"
        archive.addfile(link)
    with open(audio / "d.wav", "wb") as file:
        file.truncate(1 << 20)
    if shutil.which("tar"):
        subprocess.run(["tar", "-cSf", "sparse.tar", "d.wav"], cwd=audio, check=True)
    os.remove(audio / "d.wav")
    assert list_folder("--valid-fraction", 0) == 1
    assert spell_out_all(Manifest(out / "train.tsv")) == ["s.tar/a.flac"]
    listed = (out / "unreadable.tsv").read_text()
    assert re.search(
        r"s\.tar/a\.flac \(at byte [0-9]+\)\tthe second of its name in the tar", listed
    )
    assert re.search(r"s\.tar/c\.flac \(at byte [0-9]+\)\ta link or device", listed)
    if shutil.which("tar"):
        assert re.search(r"sparse\.tar/d\.wav \(at byte [0-9]+\)\ta sparse file", listed)


def test_tars_that_cannot_be_used_are_named_and_left_out(write_tar, list_folder, audio, out):
    good = write_tar("good.tar", [("a.flac", sound(0)), ("b.flac", sound(1))])
    content = good.read_bytes()
    second = next(m.offset for m in list_tar(str(good)) if m.name == "b.flac") - 512
    damaged = bytearray(content)
    damaged[second : second + 512] = b"x" * 512
    files = {
        "cut.tar": (content[: second + 600], rf"cut off or damaged from byte {second} on: unexp"),
        "edge.tar": (content[:second], rf"cut off or damaged from byte {second} on: found 0 bytes"),
        "header.tar": (content[: second + 9], rf"from byte {second} on: found 9 bytes"),
        "damaged.tar": (bytes(damaged), rf"cut off or damaged from byte {second} on"),
        "joined.tar": (content + content, r"cut off or damaged from byte [0-9]+ on: found"),
        "zero.tar": (b"", "found an empty file"),
        "empty.tar": (bytes(10240), "found an empty tar"),
        "text.tar": (b"hello" * 200, "cut off or damaged from byte 0 on"),
        "named.tar": (b"\x1f\x8b\x08" + bytes(600), "found a compressed tar"),
    }
    for name, (bad, _) in files.items():
        (audio / name).write_bytes(bad)
    with tarfile.open(audio / "packed.tar.gz", "w:gz") as archive:
        archive.add(good, "good.flac")
    assert list_folder("--valid-fraction", 0) == 1
    assert spell_out_all(Manifest(out / "train.tsv")) == ["good.tar/a.flac", "good.tar/b.flac"]
    listed = dict(line.split("\t") for line in (out / "unreadable.tsv").read_text().splitlines())
    assert "found a compressed tar" in listed.pop("packed.tar.gz")
    assert sorted(listed) == sorted(files)
    for name, (_, message) in files.items():
        assert re.search(message, listed[name]), listed[name]


def test_a_compressed_tar_alone_is_refused(write_tar, list_clips, audio, capsys):
    audio.mkdir()
    with tarfile.open(audio / "s.tar.gz", "w:gz"):
        pass
    for given in (audio / "s.tar.gz", audio):
        assert list_clips("folder", given) == 1
        assert "s.tar.gz: found a compressed tar" in capsys.readouterr().err


def test_what_cannot_be_read_is_named_by_its_member(write_tar, list_folder, audio, out):
    tar = write_tar("s.tar", [("x/a.flac", sound(0)), ("x/b.flac", b"no audio" * 20)])
    assert list_folder("--valid-fraction", 0) == 1
    assert (out / "unreadable.tsv").read_text().startswith("s.tar/x/b.flac\tnot readable")
    a, b = list_tar(str(tar))
    assert a == Member("x/a.flac", 512, len(sound(0)))
    address = f"{tar}:{b.offset}:{b.length}"
    assert find_pack(address) == (str(tar), b.offset, b.length)
    with pytest.raises(AudioError, match=r"s\.tar:[0-9]+:160: .* \(it is x/b\.flac\)$"):
        read_audio(address)
    assert [name_in_tar(p) for p in (f"{tar}:3:4", f"{tar}.zip:1:2", "a.wav")] == ["", "", ""]
    with pytest.raises(AudioError, match=r"s\.tar: found [0-9]+ bytes, expected a clip at 9999999"):
        read_audio(f"{tar}:9999999:10")


def test_tars_beside_what_may_be_their_content_are_noted(
    write_tar, write_sound, list_folder, capsys
):
    write_sound("a.wav")
    write_tar("s.tar", [("a.wav", sound(0, "wav"))])
    assert list_folder() == 0
    assert "1 clips are in tars and 1 are files of their own" in capsys.readouterr().err


def test_only_headers_are_read(audio, write_tar):
    """A shard of 2,000 clips with labels, 40 GB by its headers, is listed in no time."""
    path = audio / "s.tar"
    audio.mkdir()
    with open(path, "wb") as file:
        for clip in range(2_000):
            for ending, size in (("flac", 20_000_000), ("json", 100)):
                info = tarfile.TarInfo(f"{clip:06}.{ending}")
                info.size = size
                file.write(info.tobuf())
                file.seek(-(-size // 512) * 512, os.SEEK_CUR)
        file.write(bytes(1024))
    start = time.monotonic()
    assert len(list(list_tar(str(path)))) == 4_000
    assert time.monotonic() - start < 5
