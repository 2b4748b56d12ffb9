"""Any text is read, or refused with file and line: properties of all parsers."""

import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eat.data.labels import (
    Label,
    LabelError,
    read_descriptors,
    read_labels,
    write_descriptors,
    write_labels,
)
from eat.data.manifest import Manifest, ManifestError, write_manifest
from eat.training.run import parse_log_line, read_training_log

ANY = settings(max_examples=100, deadline=None, derandomize=True)

NAME = st.binary(min_size=1, max_size=20).filter(lambda b: not re.search(rb"[\0\r\n/]", b))
NAME = NAME.filter(lambda b: b not in (b".", b".."))
PATHS = st.lists(NAME, min_size=1, max_size=3).map(lambda parts: os.fsdecode(b"/".join(parts)))
NUMBERS = st.integers(0, 10**18 - 1)
# Text made of what the formats give a meaning to.
PIECES = st.sampled_from(
    [
        *(b"a", b"b.wav", b"\t", b"\t5", b"-", b"7", b"9" * 19, b"/", b"..", b".", b" "),
        *(b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b",", b'"', b"0,", b"1,"),
        "ü\u2028".encode(),
    ]
)
TEXT = st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=25).map(b"".join))


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@ANY
@given(entries=st.lists(st.tuples(PATHS, NUMBERS), min_size=1, max_size=5))
def test_what_is_written_as_a_manifest_is_read(folder, entries):
    write_manifest(folder / "train.tsv", "/data", entries)
    manifest = Manifest(folder / "train.tsv")
    paths = list(manifest.relative_paths())
    assert list(zip(paths, manifest.num_samples.tolist(), strict=True)) == entries


@ANY
@given(text=TEXT)
@example(text=b"../a.wav\t5")
@example(text=b"/etc/passwd\t5")
@example(text=b"a.wav\t-5")
def test_any_text_is_a_manifest_below_its_root_or_refused_with_its_line(folder, text):
    path = folder / "any.tsv"
    path.write_bytes(b"/data\n" + text)
    try:
        manifest = Manifest(path)
    except ManifestError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: found .*, expected ", str(error), re.DOTALL)
        return
    assert (manifest.num_samples >= 0).all()
    for clip in range(len(manifest)):
        assert os.path.normpath(manifest.path(clip)).startswith(f"{manifest.root}/")


LABEL_TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=10)


@ANY
@given(
    ids=st.lists(LABEL_TEXT.filter(lambda text: "," not in text), min_size=1, unique=True),
    names=st.lists(LABEL_TEXT, min_size=20, max_size=20),
)
def test_what_is_written_as_descriptors_is_read(folder, ids, names):
    labels = [Label(n, label, names[n % len(names)]) for n, label in enumerate(ids)]
    write_descriptors(folder / "label_descriptors.csv", labels)
    assert read_descriptors(folder / "label_descriptors.csv") == labels


@ANY
@given(text=TEXT)
def test_any_text_is_descriptors_or_refused_with_its_line(folder, text):
    path = folder / "any.csv"
    path.write_bytes(text)
    try:
        labels = read_descriptors(path)
    except LabelError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: ", str(error))
        return
    assert [label.index for label in labels] == list(range(len(labels)))


CLASSES = [Label(0, "/m/09", "Speech"), Label(1, "b", 'B "x", y')]


@ANY
@given(
    clips=st.lists(
        st.tuples(PATHS, st.lists(st.sampled_from(["/m/09", "b"]), min_size=1, unique=True)),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_as_labels_is_read(folder, clips):
    write_manifest(folder / "labelled.tsv", "/data", [(path, 1) for path, _ in clips])
    write_labels(folder / "labelled.lbl", clips)
    table = read_labels(folder / "labelled.lbl", Manifest(folder / "labelled.tsv"), CLASSES)
    found = [[CLASSES[index].id for index in table.classes(clip)] for clip in range(len(clips))]
    assert found == [ids for _, ids in clips]


@ANY
@given(text=TEXT)
def test_any_text_is_labels_or_refused_with_its_line(folder, text):
    write_manifest(folder / "two.tsv", "/data", [("a", 1), ("b.wav", 1)])
    path = folder / "two.lbl"
    path.write_bytes(text)
    try:
        table = read_labels(path, Manifest(folder / "two.tsv"), CLASSES)
    except LabelError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: ", str(error))
        return
    assert len(table) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(["num_updates", "valid_num_updates", "valid_loss", "loss", "epoch", "_"])


@ANY
@given(prefix=st.text(max_size=10), stats=st.dictionaries(KEYS, JSON))
def test_any_statistics_have_a_number_of_updates_or_are_none(prefix, stats):
    line = parse_log_line(prefix + json.dumps(stats))
    if line is not None:
        assert abs(line.values["num_updates"]) < float("inf")
        assert all(isinstance(value, float) for value in line.values.values())


@ANY
@given(text=st.one_of(TEXT, st.text(max_size=40).map(str.encode)))
def test_any_text_after_a_good_line_leaves_that_line(folder, text):
    path = folder / "train.log"
    path.write_bytes(b'{"num_updates": "1", "loss": "2.5"}\n' + text)
    log = read_training_log(path)
    assert log["train_inner"]["loss"].tolist() == [2.5]
