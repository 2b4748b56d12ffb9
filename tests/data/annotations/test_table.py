import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eat.data.annotations.table import (
    Columns,
    Row,
    annotate,
    label_by_parent,
    read_table,
    split_by_top,
)


@pytest.fixture
def rows_of(tmp_path):
    """The rows of a table with the given bytes, without their locations."""

    def rows_of(text, columns=None):
        (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return [tuple(row)[:3] for row in read_table(str(tmp_path / "t.csv"), columns or Columns())]

    return rows_of


@pytest.mark.parametrize(
    "text",
    [
        'path,label\na.wav,"Male speech, man"\nb.wav,Dog\n',
        '\ufeffFile_Name;Class\r\na.wav;"Male speech, man"\r\n\r\nb.wav; Dog \r\n',
        "id\tclip\tcategory\n1\ta.wav\tMale speech, man\n2\tb.wav\tDog",
    ],
)
def test_variants_of_the_same_table(rows_of, text):
    assert rows_of(text) == [("a.wav", ["Male speech, man"], None), ("b.wav", ["Dog"], None)]


def test_several_labels_in_a_cell(rows_of):
    assert rows_of('fname,labels\n1,"Dog, Cat,"\n2,Dog\n3,\n') == [
        ("1", ["Dog", "Cat"], None),
        ("2", ["Dog"], None),
        ("3", [], None),
    ]
    assert rows_of("path,label\n1,Dog|Cat\n", Columns(separator="|"))[0][1] == ["Dog", "Cat"]
    assert rows_of('path,tags\n1,"a, b"\n', Columns(separator=""))[0][1] == ["a, b"]


def test_given_columns(rows_of):
    text = "path,slice,label,what,fold\nx,a.wav,y,Dog,3\n"
    assert rows_of(text, Columns("SLICE", "What", split="fold")) == [("a.wav", ["Dog"], "3")]


def test_where_rows_are(tmp_path):
    (tmp_path / "t.csv").write_text('path,label\na,"x\ny"\nb,z\n')
    rows = read_table(str(tmp_path / "t.csv"), Columns())
    assert [row.location for row in rows] == [f"{tmp_path}/t.csv:3", f"{tmp_path}/t.csv:4"]


@pytest.mark.parametrize(
    "text, columns, message",
    [
        ("", Columns(), "t.csv:1: found the columns none, expected one called 'path' or"),
        ("a,b\n", Columns(), "t.csv:1: found the columns 'a', 'b', expected one called 'path' or"),
        ("path,x\n", Columns(), "expected one called 'label' or 'class' or"),
        ("path,file,label\n", Columns(), "found the columns 'path', 'file', 'label', expected one"),
        ("path,x\n", Columns(label="y"), "expected exactly one called 'y' (--label-column names"),
        ("path,label\n", Columns(split="fold"), "expected exactly one called 'fold'"),
        ("path,label\n,dog\n", Columns(), "t.csv:2: found an empty 'path', expected one"),
        ("path,label,fold\na,dog\n", Columns(split="fold"), "t.csv:2: found an empty 'fold'"),
        ('path,label\na,"' + "x" * 200_000, Columns(), "t.csv:2: field larger than field limit"),
    ],
)
def test_a_bad_table_is_named(rows_of, text, columns, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rows_of(text, columns)


@given(st.lists(st.sampled_from(["path", "label", ",", '"', "\n", "\r", "\0", "é", ";"])))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_table_or_a_value_error(rows_of, pieces):
    try:
        rows = rows_of("".join(pieces))
    except ValueError as error:
        assert re.search(r"t\.csv:\d+: ", str(error))
    else:
        assert all(clip for clip, _, _ in rows)


def test_clips_are_found_by_any_of_their_names():
    paths = ["a/1.wav", "a/2.wav", "b/3.wav"]
    rows = [
        Row(name, [name], None, "t:1")
        for name in ("a/1", "2.wav", "/data/b/3.wav", "3", "./a/1.wav", "/other/b/3.wav", "b/1.wav")
    ]
    found = annotate(rows, "/data", paths)
    assert found.labels == {
        "a/1.wav": ["a/1", "./a/1.wav"],
        "a/2.wav": ["2.wav"],
        "b/3.wav": ["/data/b/3.wav", "3"],
    }
    assert found.left_out == [
        ("/other/b/3.wav", "no such audio file (t:1)"),
        ("b/1.wav", "no such audio file (t:1)"),
    ]


def test_a_name_of_several_clips_is_refused():
    paths = ["a/1.wav", "b/1.wav", "1.wav", "a/2.wav", "a/2.flac"]
    assert annotate([Row("1.wav", ["x"], None, "t:2")], "/data", paths).labels == {"1.wav": ["x"]}
    for name, files in (("1", "a/1.wav, b/1.wav"), ("a/2", "a/2.wav, a/2.flac")):
        message = (
            f"t:2: found {name!r}, which {2 + (name == '1')} files are called ({files}), expec"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            annotate([Row(name, ["x"], None, "t:2")], "/data", paths)


def test_two_splits_of_a_clip_are_refused():
    rows = [Row("1", ["x"], "train", "t:2"), Row("1.wav", ["y"], "test", "t:3")]
    with pytest.raises(ValueError, match="t:3: found the split 'test' of '1.wav', expected 'train"):
        annotate(rows, "/data", ["1.wav"])


def test_labels_and_splits_of_folders():
    found = label_by_parent(["x.wav", "a/b/y.wav"])
    assert found.labels == {"a/b/y.wav": ["b"]}
    assert found.left_out == [("x.wav", "in no folder that would be its label")]
    assert split_by_top(["a/b/y.wav", "c/x.wav"]) == {"a/b/y.wav": "a", "c/x.wav": "c"}
    with pytest.raises(ValueError, match=re.escape("found 'x.wav', expected all files in folders")):
        split_by_top(["a/y.wav", "x.wav"])
