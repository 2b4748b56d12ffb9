import os
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from helpers import REPOSITORY
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from synthesis import CLASSES as EVENTS

from eat.data.labels import (
    Label,
    LabelError,
    LabelTable,
    index_labels,
    make_descriptors,
    read_descriptors,
    read_labels,
    write_descriptors,
    write_labels,
)
from eat.data.manifest import Manifest, write_manifest

CLASSES = [
    Label(0, "/m/09x0r", "Speech"),
    Label(1, "/m/05zppz", "Male speech, man speaking"),
    Label(2, "dog", 'Dog, "man\'s best friend"'),
    Label(3, "Speech", "Speech in the narrow sense"),
]
PATHS = ["a/b c.wav", "d.flac", "e\tf.wav"]
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def descriptors_of(tmp_path):
    """Reads label descriptors with the given bytes."""

    def descriptors_of(text: bytes):
        (tmp_path / "label_descriptors.csv").write_bytes(text)
        return read_descriptors(tmp_path / "label_descriptors.csv")

    return descriptors_of


@pytest.fixture
def manifest(tmp_path):
    write_manifest(tmp_path / "train.tsv", "/data", ((path, 16000) for path in PATHS))
    return Manifest(tmp_path / "train.tsv")


@pytest.fixture
def labels_of(tmp_path, manifest):
    """Reads the labels of `PATHS` in the given bytes."""

    def labels_of(text: bytes) -> LabelTable:
        (tmp_path / "train.lbl").write_bytes(text)
        return read_labels(tmp_path / "train.lbl", manifest, CLASSES)

    return labels_of


def classes_of(table):
    return [table.classes(clip).tolist() for clip in range(len(table))]


# Label descriptors


@pytest.mark.parametrize(
    "text",
    [
        b'0,/m/1,"Speech"\n1,/m/2,"Male speech, man ""x"" speaking"\n2,dog,"dog"\n',
        b'index,mid,name\n0,/m/1,"Speech"\n1,/m/2,"Male speech, man ""x"" speaking"\n2,dog\n',
        b'0,/m/1,Speech\r\n1,/m/2,"Male speech, man ""x"" speaking"\r\n2,dog,dog\r\n\r\n\r\n',
        b'\xef\xbb\xbfINDEX,id,name\r\n0, /m/1, "Speech"\n1 ,/m/2,"Male speech, man ""x"" speaking"'
        b"\n2,dog,",
    ],
)
def test_variants_of_the_same_descriptors(descriptors_of, text):
    assert descriptors_of(text) == [
        Label(0, "/m/1", "Speech"),
        Label(1, "/m/2", 'Male speech, man "x" speaking'),
        Label(2, "dog", "dog"),
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", ':1: found no classes, expected a line index,id,"name" for each'),
        (b"\n\n", ":1: found no classes"),
        (b"index,mid,display_name\n", ":1: found no classes"),
        (b"1,dog,Dog\n", ":1: found the index '1', expected 0: classes count from 0, in order"),
        (b"0,a,A\n2,b,B\n", ":2: found the index '2', expected 1"),
        (b"0,a,A\n0,b,B\n", ":2: found the index '0', expected 1"),
        (b"0,a,A\nindex,id,name\n", ":2: found the index 'index', expected 1"),
        (b"0,a,A\n1,a,B\n", ":2: found the id 'a' a second time, expected each once"),
        (b"0,a,A\n\n1,b,B\n", ':2: found a blank line, expected index,id,"name"'),
        (b"0,a,A\n1\n", ":2: found 1 fields in '1', expected index,id,\"name\""),
        (
            b"0,a,Male speech, man speaking\n",
            ":1: found 4 fields in '0,a,Male speech, man speaking', expected index,id,\"name\" with"
            " quotes around a name that holds commas",
        ),
        (b'0,a,"A\n1,b,B\n', ':1: found \'0,a,"A\', expected index,id,"name" (unexpected end of'),
        (b'0,"a,b",A\n', ":1: found a comma in the id 'a,b', expected none: it separates labels"),
        (b"0,,A\n", ":1: found the id '' with the name 'A', expected both"),
        (b"0,a\tb,A\n", ":1: found 'a\\tb', expected an id or name in UTF-8 without control"),
        (b"0,caf\xe9,A\n", ":1: found 'caf\\udce9', expected an id or name in UTF-8"),
        (b"0\0,a,A\n", ":1: found "),
        ("0,a,A\n".encode("utf-16"), ":1: found "),
    ],
)
def test_bad_descriptors_are_named(descriptors_of, tmp_path, text, message):
    with pytest.raises(LabelError, match=re.escape(f"{tmp_path}/label_descriptors.csv{message}")):
        descriptors_of(text)


def test_descriptors_as_the_reference_code_reads_them(tmp_path):
    write_descriptors(tmp_path / "label_descriptors.csv", CLASSES)
    lines = (tmp_path / "label_descriptors.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1] == '1,/m/05zppz,"Male speech, man speaking"'
    assert [line.split(",")[:2] for line in lines] == [[str(i), id] for i, id, _ in CLASSES]


names = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text == text.strip()
)
ids = names.filter(lambda text: "," not in text)


@given(st.lists(st.tuples(ids, names), min_size=1, max_size=5, unique_by=lambda pair: pair[0]))
@example([('"', '"'), ('a"b', '","'), ("a b", "'")])
@QUICK
def test_written_descriptors_are_read(tmp_path, pairs):
    labels = [Label(index, *pair) for index, pair in enumerate(pairs)]
    write_descriptors(tmp_path / "d.csv", labels)
    assert read_descriptors(tmp_path / "d.csv") == labels


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.sampled_from(['"', ",", "\n", "\r", "\t", "\0", " ", "0", "1", "a", "\ufeff"]))
        .map("".join)
        .map(str.encode),
    )
)
@QUICK
def test_any_bytes_are_descriptors_or_a_label_error(descriptors_of, text):
    try:
        labels = descriptors_of(text)
    except LabelError as error:
        assert re.search(r"label_descriptors\.csv:\d+: found ", str(error))
    else:
        assert [label.index for label in labels] == list(range(len(labels)))
        assert len({label.id for label in labels}) == len(labels) > 0


@pytest.mark.parametrize(
    "labels, message",
    [
        ([], "found no classes to write, expected at least one"),
        ([Label(1, "a", "A")], "found the index '1', expected 0"),
        ([Label(0, "a", "A"), Label(1, "a", "B")], "found the id 'a' a second time"),
        ([Label(0, "a,b", "A")], "found a comma in the id 'a,b'"),
        ([Label(0, "a\tb", "A")], "found 'a\\tb', expected an id or name"),
        ([Label(0, "a", "A\nB")], "found 'A\\nB', expected an id or name"),
        ([Label(0, "a ", "A")], "found 'a ', expected an id or name"),
        ([Label(0, "\udce9", "A")], "found '\\udce9', expected an id or name in UTF-8"),
        ([Label(0, "a", "")], "found the id 'a' with the name '', expected both"),
        ([Label(0, "", "A")], "found the id '' with the name 'A'"),
    ],
)
def test_descriptors_that_could_not_be_read_are_not_written(tmp_path, labels, message):
    path = tmp_path / "d.csv"
    path.write_text("before")
    with pytest.raises(LabelError, match=re.escape(f"{path}: {message}")):
        write_descriptors(path, labels)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["d.csv"]


def test_classes_made_of_names():
    assert make_descriptors(["wren", "owl", "Male speech, man speaking", "owl"]) == [
        Label(0, "Male speech_ man speaking", "Male speech, man speaking"),
        Label(1, "owl", "owl"),
        Label(2, "wren", "wren"),
    ]
    assert [label.name for label in make_descriptors(["10", "9", "1"])] == ["1", "9", "10"]
    with pytest.raises(LabelError, match=re.escape("found the labels 'a,b' and 'a_b', expected")):
        make_descriptors(["a_b", "a,b"])


def test_ids_win_over_names_and_names_of_two_classes_mean_none():
    labels = [Label(0, "a", "b"), Label(1, "b", "x"), Label(2, "c", "x"), Label(3, "d", "e")]
    assert index_labels(labels) == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 3}


# Label files


@pytest.mark.parametrize(
    "text",
    [
        b"a/b c.wav\t/m/05zppz,dog\nd.flac\tdog\ne\tf.wav\tSpeech,/m/09x0r\n",
        b"a/b c.wav\t/m/05zppz,dog\r\nd.flac\tdog\r\ne\tf.wav\tSpeech,/m/09x0r",
        b"\xef\xbb\xbfb c.wav\t/m/05zppz , dog\nd\tdog,dog\ne\tf\tSpeech,/m/09x0r\n\n\n",
        b"a/b c\t/m/05zppz,dog\nd.flac   dog\ne\tf\tSpeech in the narrow sense,/m/09x0r\n\r\n",
        b"b c\t/m/05zppz,dog\nd dog\ne\tf\tSpeech,/m/09x0r",
    ],
)
def test_variants_of_the_same_labels(labels_of, text):
    table = labels_of(text)
    assert len(table) == 3
    assert table.num_classes == 4
    assert classes_of(table) == [[1, 2], [2], [3, 0]]


def test_what_a_table_knows(labels_of):
    table = labels_of(b"a/b c\tdog,Speech\nd\tdog\ne\tf\tdog\n")
    assert table.classes(0).dtype == np.int32
    assert table.targets(0).dtype == np.float32
    assert table.targets(0).tolist() == [0, 0, 1, 1]
    assert table.targets(2).tolist() == [0, 0, 1, 0]
    assert table.counts.tolist() == [0, 0, 3, 1]
    assert not table.is_single_label
    assert labels_of(b"a/b c\tdog\nd\tdog\ne\tf\tSpeech\n").is_single_label
    with pytest.raises(IndexError, match="labels of clip 3 of 3"):
        table.classes(3)
    with pytest.raises(ValueError, match="read-only"):
        table.classes(0)[0] = 1
    copy = pickle.loads(pickle.dumps(table))  # for another process
    assert (classes_of(copy), copy.num_classes) == (classes_of(table), 4)


@pytest.mark.parametrize(
    "text, line, message",
    [
        (b"", 1, "found the end of the file, expected 'a/b c.wav' ({tsv}:2): each of the 3 clips"),
        (b"b c\tdog\nd\tdog\n", 3, "found the end of the file, expected 'e\\tf.wav' ({tsv}:4)"),
        (b"b c\tdog\nd\tdog\ne\tf\tdog\n\ng\td\n", 4, "found '', expected the end of the file aft"),
        (b"b c\tdog\nd\tdog\ne\tf\tdog\nx\n", 4, "found 'x', {end} after the 3 clips of {tsv}"),
        (b"b c\tdog\nd.wav\tdog\n", 2, "found the clip 'd.wav', expected 'd.flac' ({tsv}:3)"),
        (b"b c\tdog\nx/d\tdog\n", 2, "found the clip 'x/d', expected 'd.flac' ({tsv}:3)"),
        (b"c.wav\tdog\n", 1, "found the clip 'c.wav', expected 'a/b c.wav' ({tsv}:2)"),
        (b"b c\tdog\n\nd\tdog\n", 2, "found a blank line, expected 'd.flac' ({tsv}:3)"),
        (b"b c\tdog\nd\n", 2, "found 'd' without a tab, expected clip<TAB>label[,label...]"),
        (b"b c\tdog\n\tdog\n", 2, "found '\\tdog' without a tab"),
        (b"b c\tcat\n", 1, "found the label 'cat', expected an id of label_descriptors.csv (or"),
        (b"b c\tMale speech, man speaking\n", 1, "found the label 'Male speech', expected an id"),
        (b"b c\tdog,\n", 1, "found an empty label in 'dog,', expected clip<TAB>label[,label...]"),
        (b"b c\t\n", 1, "found an empty label in '', expected clip<TAB>label[,label...]"),
        (b"b c\t\xff\n", 1, "found the label '\\udcff', expected an id"),
        ("b c\tdog\n".encode("utf-16"), 1, "found "),
    ],
)
def test_bad_labels_are_named(labels_of, tmp_path, text, line, message):
    expected = f"{tmp_path}/train.lbl:{line}: " + message.format(
        tsv=f"{tmp_path}/train.tsv", end="expected the end of the file"
    )
    with pytest.raises(LabelError, match=re.escape(expected)):
        labels_of(text)


def test_another_unicode_form_of_a_name_is_said(tmp_path):
    write_manifest(tmp_path / "train.tsv", ".", [("\xe9.wav", 5)])
    (tmp_path / "train.lbl").write_text("e\u0301.wav\tdog\n", encoding="utf-8")
    message = f"expected '\xe9.wav' ({tmp_path}/train.tsv:2) in its Unicode form"
    with pytest.raises(LabelError, match=re.escape(message)):
        read_labels(tmp_path / "train.lbl", Manifest(tmp_path / "train.tsv"), CLASSES)


def test_missing_files_and_the_file_of_the_classes_are_named(manifest, tmp_path):
    message = f"no such labels: {tmp_path}/train.lbl (`eat manifest folder DIR --labels-from parent"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        read_labels(tmp_path / "train.lbl", manifest, CLASSES)
    (tmp_path / "train.lbl").write_text("b c\tcat\n")
    with pytest.raises(LabelError, match="found the label 'cat', expected an id of /x/classes.csv"):
        read_labels(tmp_path / "train.lbl", manifest, CLASSES, "/x/classes.csv")
    message = f"no such label descriptors: {tmp_path}/label_descriptors.csv (`eat manifest folder"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        read_descriptors(tmp_path / "label_descriptors.csv")


@st.composite
def labelled_clips(draw):
    """Names of clips, classes, and the classes of each clip."""
    separators = "\n\r\0/"
    path = st.text(st.characters(blacklist_characters=separators, blacklist_categories=["Cs"]))
    paths = draw(st.lists(path.filter(lambda name: name not in ("", ".", "..")), min_size=1))
    class_ids = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    labels = [Label(index, label_id, label_id) for index, label_id in enumerate(class_ids)]
    some = st.lists(st.sampled_from(range(len(labels))), min_size=1, max_size=4, unique=True)
    return paths, labels, [draw(some) for _ in paths]


@given(labelled_clips())
@QUICK
def test_written_labels_are_read(tmp_path, clips):
    paths, labels, classes = clips
    write_manifest(tmp_path / "t.tsv", "/data", ((path, 1) for path in paths))
    entries = ((p, [labels[i].id for i in c]) for p, c in zip(paths, classes, strict=True))
    assert write_labels(tmp_path / "t.lbl", entries) == len(paths)
    table = read_labels(tmp_path / "t.lbl", Manifest(tmp_path / "t.tsv"), labels)
    assert classes_of(table) == classes
    assert table.counts.sum() == sum(map(len, classes))


@given(
    st.lists(
        st.sampled_from(["a/b c.wav", "d", "e\tf", "\t", "dog", ",", " ", "\n", "\r", "\0", "é"])
    )
    .map("".join)
    .map(str.encode)
    | st.binary(max_size=40)
)
@example(b"a/b c.wav\tdog\nd dog\ne\tf\tdog\n")
@QUICK
def test_any_bytes_are_labels_or_a_label_error(labels_of, text):
    try:
        table = labels_of(text)
    except LabelError as error:
        assert re.search(r"train\.lbl:\d+: found ", str(error))
    else:
        assert len(table) == 3
        assert min(map(len, classes_of(table))) >= 1


@pytest.mark.parametrize(
    "entry, message",
    [
        (("a.wav", []), "found no label of 'a.wav', expected at least one"),
        (("a.wav", ["x", "a,b"]), "found a comma in the id 'a,b', expected none: it separates"),
        (("a.wav", ["a\tb"]), "found 'a\\tb', expected an id or name in UTF-8 without control"),
        (("a.wav", [""]), "found the id ''"),
        (("a\n.wav", ["x"]), "found the clip 'a\\n.wav', expected a path without line breaks"),
        (("", ["x"]), "found the clip '', expected a path"),
    ],
)
def test_labels_that_could_not_be_read_are_not_written(tmp_path, entry, message):
    path = tmp_path / "t.lbl"
    path.write_text("before")
    with pytest.raises(LabelError, match=re.escape(f"{path}: {message}")):
        write_labels(path, [("b.wav", ["x"]), entry])
    assert path.read_text() == "before"
    with pytest.raises(LabelError, match="found no clips to write"):
        write_labels(path, [])


def test_names_that_are_not_utf8_have_labels(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    write_manifest(tmp_path / "t.tsv", "/data", [(name, 1)])
    write_labels(tmp_path / "t.lbl", [(name, ["dog"])])
    assert (tmp_path / "t.lbl").read_bytes() == b"caf\xe9.wav\tdog\n"
    table = read_labels(tmp_path / "t.lbl", Manifest(tmp_path / "t.tsv"), CLASSES)
    assert classes_of(table) == [[2]]


def test_names_that_begin_as_a_byte_order_mark_does(tmp_path):
    """A mark is left out once; what a name begins with stays."""
    for name in ("\ufeffa.wav", "\ufeff\ufeffa.wav", "a.wav"):
        write_manifest(tmp_path / "t.tsv", name, [(name, 5), (name, 6)])
        write_labels(tmp_path / "t.lbl", [(name, ["x"]), (name, ["y"])])
        for file in (tmp_path / "t.tsv", tmp_path / "t.lbl"):
            is_marked = name[0] == "\ufeff"
            assert file.read_bytes().startswith(f"\ufeff{name}".encode()) == is_marked
            file.write_bytes(
                file.read_bytes() if is_marked else b"\xef\xbb\xbf" + file.read_bytes()
            )
        manifest = Manifest(tmp_path / "t.tsv")
        assert manifest.root == str(tmp_path / name)
        classes = [Label(0, "x", "X"), Label(1, "y", "Y")]
        labels = read_labels(tmp_path / "t.lbl", manifest, classes)
        assert [[*labels.classes(clip)] for clip in range(2)] == [[0], [1]]


def test_many_clips_are_read_into_small_arrays(tmp_path):
    num_clips = 50_000
    labels = make_descriptors(map(str, range(500)))
    write_manifest(tmp_path / "t.tsv", "/data", ((f"x/{i}.wav", 1) for i in range(num_clips)))
    write_labels(
        tmp_path / "t.lbl",
        ((f"x/{i}.wav", [str(i % 500), str(i % 7 + 200)]) for i in range(num_clips)),
    )
    manifest = Manifest(tmp_path / "t.tsv")
    tracemalloc.start()
    try:
        table = read_labels(tmp_path / "t.lbl", manifest, labels)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.classes(49_999).tolist() == [499, 205]
    assert kept < 16 * num_clips + 1_000_000  # 8 bytes for the offset, 4 for each label


@pytest.mark.parametrize("split", ["train", "valid"])
def test_the_sample_labels_are_the_classes_of_the_quickstart(split):
    sample = REPOSITORY / "manifests" / "sample"
    descriptors = read_descriptors(sample / "label_descriptors.csv")
    assert [label.name for label in descriptors] == sorted(EVENTS)
    manifest = Manifest(sample / f"{split}.tsv")
    table = read_labels(sample / f"{split}.lbl", manifest, descriptors)
    assert table.is_single_label
    for clip, path in enumerate(manifest.relative_paths()):
        assert descriptors[table.classes(clip)[0]].name == os.path.dirname(path)


def test_the_examples_of_the_formats(tmp_path):
    text = (REPOSITORY / "manifests" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    names = ("train.tsv", "train.lbl", "label_descriptors.csv")
    for name, block in zip(names, blocks, strict=False):
        (tmp_path / name).write_text(block)
    descriptors = read_descriptors(tmp_path / names[2])
    assert [label.name for label in descriptors] == ["Bird", "Chirp, tweet"]
    table = read_labels(tmp_path / names[1], Manifest(tmp_path / names[0]), descriptors)
    assert classes_of(table) == [[0, 1], [0]]
