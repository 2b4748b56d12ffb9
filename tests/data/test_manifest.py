import os
import pickle
import random
import re
import tracemalloc
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from synthesis import CLASSES, CLIP_SECONDS

from eat.audio import SAMPLE_RATE_HZ
from eat.data import manifest as module
from eat.data.manifest import Manifest, ManifestError, write_manifest


@pytest.fixture
def open_text(tmp_path):
    """Opens a manifest with the given bytes."""

    def open_text(text: bytes) -> Manifest:
        (tmp_path / "train.tsv").write_bytes(text)
        return Manifest(tmp_path / "train.tsv")

    return open_text


def clips_of(manifest):
    return [(manifest.relative_path(i), int(manifest.num_samples[i])) for i in range(len(manifest))]


def test_lines_become_clips(open_text, tmp_path):
    manifest = open_text(b"/data/birds\nwren.wav\t16000\nday 1/owl.flac\t0\n")

    assert len(manifest) == 2
    assert manifest.root == "/data/birds"
    assert manifest.relative_path(1) == "day 1/owl.flac"
    assert manifest.path(1) == "/data/birds/day 1/owl.flac"
    assert manifest.location(1) == f"{tmp_path}/train.tsv:3"
    assert manifest.num_samples.dtype == np.int64
    assert manifest.num_samples.tolist() == [16000, 0]
    with pytest.raises(ValueError, match="read-only"):
        manifest.num_samples[0] = 1
    for index in (-1, 2):
        with pytest.raises(IndexError, match="clip -?[12] of 2"):
            manifest.path(index)


@pytest.mark.parametrize(
    "name",
    ["a b.wav", " .wav", "Nachtigall ü 夜鶯 🐦.wav", "tab\there.wav", "a\t5.wav", "7", "..x/..wav"],
)
def test_names_are_kept_as_they_are(open_text, name):
    manifest = open_text(f"/data\n{name}\t{'9' * 18}\nlast.wav\t{'1' * 18}\n".encode())
    assert clips_of(manifest) == [(name, int("9" * 18)), ("last.wav", int("1" * 18))]


def test_names_that_are_not_utf8_are_the_names_of_files(open_text, tmp_path):
    name = b"caf\xe9.wav"
    (tmp_path / os.fsdecode(name)).write_bytes(b"")
    manifest = open_text(b".\n" + name + b"\t5\n")

    assert os.fsencode(manifest.relative_path(0)) == name
    assert os.path.exists(manifest.path(0))


@pytest.mark.parametrize(
    "text",
    [
        b"/data\na.wav\t5\nb.wav\t67",  # no line break at the end
        b"/data\na.wav\t5\nb.wav\t67\n\n\n",
        b"/data\r\na.wav\t5\r\nb.wav\t67\r\n",
        b"/data\r\na.wav\t5\r\nb.wav\t67",
        b"\xef\xbb\xbf/data\na.wav\t5\nb.wav\t67\n",  # a byte order mark
        b"/data\na.wav\t005\nb.wav\t67\n",
    ],
)
def test_variants_of_the_same_manifest(open_text, text):
    manifest = open_text(text)
    assert manifest.root == "/data"
    assert clips_of(manifest) == [("a.wav", 5), ("b.wav", 67)]


@pytest.mark.parametrize(
    "root, expected", [(".", ""), ("audio", "audio"), ("../other", "../other")]
)
def test_a_relative_root_starts_at_the_manifest(open_text, tmp_path, monkeypatch, root, expected):
    monkeypatch.chdir("/")
    manifest = open_text(root.encode() + b"\na.wav\t5\n")
    assert manifest.root == os.path.normpath(tmp_path / expected)


@pytest.mark.parametrize(
    "line, message",
    [
        (b"b.wav", "found 'b.wav' without a tab, expected path<TAB>samples"),
        (b"b.wav 5", "found 'b.wav 5' without a tab"),
        (b"\t5", "found no path before the tab of '\\t5'"),
        (b"b.wav\t", "found '' after the last tab, expected the number of samples"),
        (b"b.wav\t-5", "found '-5' after the last tab"),
        (b"b.wav\t5.0", "found '5.0' after the last tab"),
        (b"b.wav\t5 ", "found '5 ' after the last tab"),
        (b"b.wav\t\xd9\xa5", "found '٥' after the last tab"),  # a digit, but not to every reader
        (b"b.wav\t5\tx", "found 'x' after the last tab"),
        (b"b.wav\t" + b"1" * 19, "(a whole number of at most 18 digits)"),
        (b"/data/b.wav\t5", "found the absolute path '/data/b.wav', expected a path below"),
        (b"../b.wav\t5", "found '../b.wav', which leaves the root folder"),
        (b"a/../../b.wav\t5", "found 'a/../../b.wav', which leaves the root folder"),
        (b"a/b/../../..\t5", "found 'a/b/../../..', which leaves the root folder"),
        (b"b\0.wav\t5", "found a zero byte in 'b\\x00.wav'"),
        (b"b.wav\0\0\t5", "found a zero byte in 'b.wav\\x00\\x00'"),
        (b"\0\0\0", "found '\\x00\\x00\\x00' without a tab"),  # a file system after a crash
        (b"x" * 200, f"found '{'x' * 120}'... without a tab"),
    ],
)
@pytest.mark.parametrize("after", [b"\n", b"\nd.wav\t7\n\n"])
def test_a_bad_line_is_named(open_text, tmp_path, line, message, after):
    with pytest.raises(ManifestError, match=re.escape(message)) as error:
        open_text(b"/data\na.wav\t5\n" + line + after)
    assert str(error.value).startswith(f"{tmp_path}/train.tsv:3: found ")


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "train.tsv:1: found an empty file, expected the root folder"),
        (b"\n\n", "train.tsv:1: found a blank line, expected the root folder"),
        (b"\na.wav\t5\n", "train.tsv:1: found a blank line, expected the root folder"),
        (b"\xef\xbb\xbf", "train.tsv:1: found a blank line, expected the root folder"),
        (b"a.wav\t5\nb.wav\t6\n", "train.tsv:1: found the clip 'a.wav\\t5', expected the root"),
        (b"/data\n", "train.tsv:2: found no clips after the root folder"),
        (b"/data", "train.tsv:2: found no clips after the root folder"),
        ("/data\na.wav\t5\n".encode("utf-16"), "train.tsv:1: found a zero byte in"),
        # Blank lines between clips, and the first of several bad lines.
        (b"/data\na\t5\n\nd\t7\n", "train.tsv:3: found a blank line, expected path<TAB>samples"),
        (b"/data\na\t5\n\r\nd\t7\n", "train.tsv:3: found a blank line"),
        (b"/data\na\t5\nb\t5\r\r\nd\t7\n", "train.tsv:3: found '5\\r' after the last tab"),
        (b"/data\na\t5\n../b\t5\nc\n../d\t5\n", "train.tsv:3: found '../b'"),
        (b"/data\nc.wav\n../d.wav\t5\n", "train.tsv:2: found 'c.wav'"),
    ],
)
def test_text_that_is_no_manifest(open_text, text, message):
    with pytest.raises(ManifestError, match=re.escape(message)):
        open_text(text)


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    message = f"no such manifest: {tmp_path}/mine/train.tsv (`eat manifest folder DIR"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        Manifest(tmp_path / "mine" / "train.tsv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "valid.tsv").touch()
    with pytest.raises(FileNotFoundError, match=r"train.tsv \(there are valid.tsv; "):
        Manifest(tmp_path / "mine" / "train.tsv")


def test_a_folder_is_no_manifest(tmp_path):
    message = f"{tmp_path}: found a folder, expected a manifest (`eat manifest folder {tmp_path} --"
    with pytest.raises(IsADirectoryError, match=re.escape(message)):
        Manifest(tmp_path)


def test_a_copy_for_another_process_opens_the_same_file(open_text, tmp_path, monkeypatch):
    manifest = open_text(b"audio\na.wav\t5\nb.wav\t6\n")
    pickled = pickle.dumps(manifest)
    monkeypatch.chdir("/")
    copy = pickle.loads(pickled)

    assert len(pickled) < 500
    assert copy.path(1) == manifest.path(1)
    assert manifest.clip_samples(1) == copy.clip_samples(1) == 6
    assert "num_samples" not in copy.__dict__  # of millions of clips: not without need
    assert copy.num_samples.tolist() == [5, 6]

    (tmp_path / "train.tsv").write_bytes(b"/data\nbird.wav\t5\n")
    with pytest.raises(ManifestError, match="train.tsv: changed while in use"):
        pickle.loads(pickled)


def test_every_line_is_found(open_text):
    """Most lines are found by going on from one whose place is noted."""
    lines = [(f"{'x' * (i % 7)}{i}.wav", i) for i in range(100)]
    manifest = open_text(b"/data\n" + b"".join(b"%s\t%d\n" % (n.encode(), i) for n, i in lines))
    for found in (manifest, pickle.loads(pickle.dumps(manifest))):
        assert clips_of(found) == lines
        assert list(found.relative_paths()) == [name for name, _ in lines]


def test_reading_in_parts_changes_nothing(open_text, monkeypatch):
    text = b"/data\n" + b"".join(b"clip %d.wav\t%d\n" % (i, i**3) for i in range(100))
    expected = clips_of(open_text(text))
    for num_bytes in (1, 7, 64):
        monkeypatch.setattr(module, "_CHUNK_BYTES", num_bytes)
        assert clips_of(open_text(text)) == expected
        with pytest.raises(ManifestError, match="train.tsv:102: found 'x'"):
            open_text(text + b"x")


def read_line_by_line(text):
    """The format in plain Python: the clips, or the number of the first bad line."""
    lines = [line.removesuffix(b"\r") for line in text.rstrip(b"\r\n").split(b"\n")]
    clips = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split(b"\t")
        path, count = b"\t".join(fields[:-1]), fields[-1]
        steps = [{b"..": -1, b".": 0, b"": 0}.get(folder, 1) for folder in path.split(b"/")]
        is_inside = min(accumulate(steps)) >= 0
        is_count = count != b"" and len(count) <= 18 and all(c in b"0123456789" for c in count)
        if not path or path[:1] == b"/" or b"\0" in path or not is_inside or not is_count:
            return number
        clips.append((os.fsdecode(path), int(count)))
    return clips if clips else 2


def test_any_text_is_read_as_line_by_line_or_refused_at_the_same_line(open_text):
    rng = random.Random(1)
    pieces = [b"a", b"\t", b"7", b"9" * 9, b"/", b"..", b".", b"\r", b"\n", b"\0", b"\xff", b" "]
    clips = [b"a/b.wav\t5\n", b"c\t0\r\n", b"..\t1\n", b"d/../e\t12\n", b"x..\t3\n"]
    outcomes = set()
    for _ in range(800):
        text = b"".join(rng.choices(clips, k=rng.randrange(4)))
        text += b"".join(rng.choices(pieces, k=rng.randrange(6)))
        text = b"/data\n" + text + b"".join(rng.choices(clips, k=rng.randrange(2)))
        expected = read_line_by_line(text)
        try:
            result = clips_of(open_text(text))
        except ManifestError as error:
            result = int(re.search(r"train\.tsv:(\d+): found", str(error))[1])
        assert result == expected, text
        outcomes.add(type(result))
    assert outcomes == {int, list}


def test_memory_is_that_of_the_numbers_of_samples(open_text):
    num_clips = 200_000
    text = b"/data\n" + b"".join(b"folder/clip %d.wav\t160000\n" % i for i in range(num_clips))
    tracemalloc.start()
    try:
        manifest = open_text(text)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert manifest.num_samples.sum() == 160_000 * num_clips
    assert kept < 8.3 * num_clips + 20_000  # and 4 bytes for one line in 16
    assert peak < kept + 4_000_000  # and chunks to work on, of a fixed size
    assert len(pickle.dumps(manifest)) < 0.3 * num_clips


def test_what_is_written_is_read(tmp_path):
    entries = [("a b.wav", 5), ("ü\t夜/x.flac", 0), (os.fsdecode(b"\xff.wav"), 10**18 - 1)]
    assert write_manifest(tmp_path / "m.tsv", "/data/ü", iter(entries)) == 3

    manifest = Manifest(tmp_path / "m.tsv")
    assert manifest.root == "/data/ü"
    assert clips_of(manifest) == entries
    assert (tmp_path / "m.tsv").read_bytes().startswith("/data/ü\na b.wav\t5\n".encode())


@pytest.mark.parametrize(
    "root, entry, message",
    [
        ("/data", ("b\n.wav", 5), "found a line break in 'b\\n.wav\\t5', expected a name without"),
        ("/data", ("b\r.wav", 5), "found a line break in 'b\\r.wav\\t5'"),
        ("/data", ("b.wav", -1), "found '-1' after the last tab"),
        ("/data", ("/b.wav", 1), "found the absolute path '/b.wav'"),
        ("/da\nta", ("b.wav", 1), "found a line break in '/da\\nta'"),
        ("", ("b.wav", 1), "found a blank line, expected the root folder"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, root, entry, message):
    path = tmp_path / "m.tsv"
    path.write_text("before")
    with pytest.raises(ManifestError, match=re.escape(f"{path}: {message}")):
        write_manifest(path, root, [("a.wav", 5), entry])
    with pytest.raises(ManifestError, match="found no clips to write"):
        write_manifest(path, "/data", [])
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["m.tsv"]


@pytest.mark.parametrize("split, num_clips", [("train", 26), ("valid", 13)])
def test_the_sample_manifests_list_clips_of_the_quickstart(split, num_clips):
    repository = Path(__file__).resolve().parents[2]
    manifest = Manifest(repository / "manifests" / "sample" / f"{split}.tsv")
    assert manifest.root == str(repository / "quickstart" / "synthetic" / "events")
    assert len(manifest) == num_clips
    for path, num_samples in clips_of(manifest):
        class_name = os.path.dirname(path)
        assert class_name in CLASSES
        assert re.fullmatch(rf"{class_name}/{class_name}-000[123]\.wav", path)
        assert num_samples == round(CLIP_SECONDS * SAMPLE_RATE_HZ)
