import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eat.data.annotations.table import (
    Columns,
    Row,
    annotate,
    label_by_path,
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
    (tmp_path / "t.csv").write_text('path,label\n"a\na",x\nb,z\n')
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
        ("path,label\na,x,y\n", Columns(), "t.csv:2: found more cells than the header has"),
        ('path,label\na,"x\ty"\n', Columns(), "t.csv:2: found 'x\\ty', expected an id or name in"),
        (
            b"path,label\na,B\xf6e\n",
            Columns(),
            "t.csv:2: not UTF-8 (byte 0xf6), expected UTF-8, or",
        ),
        (b"path,x,y\na,b,\xf6\n", Columns(label="x", split="y"), "t.csv:2: not UTF-8 (byte 0xf6)"),
        (b"path,gr\xf6\n", Columns(label="gr\xf6"), "t.csv:1: not UTF-8 (byte 0xf6), expected"),
        ("path,label\na,x\n".encode("utf-16"), Columns(), "--encoding with its name, e.g. utf-16"),
        ('path,label\n"a,x\nb,x\n', Columns(), "t.csv:3: unexpected end of data, expected CSV"),
        ('path,label\n"a,x\n"b",x\n', Columns(), "t.csv:3: ',' expected after '\"', expected"),
        ('path,label\na,"' + "x" * 200_000, Columns(), "t.csv:2: field larger than field limit"),
    ],
)
def test_a_bad_table_is_named(rows_of, text, columns, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rows_of(text, columns)


def test_tables_in_other_encodings(tmp_path, rows_of):
    text = "path,label,gr\xf6\n\xf6.wav,B\xf6e,\xfc\n"
    for encoding in ("latin-1", "utf-16", "utf-8", "utf-8-sig"):
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        [row] = read_table(str(tmp_path / "t.csv"), Columns(split="Gro\u0308"), encoding)
        assert row[:3] == ("\xf6.wav", ["B\xf6e"], "\xfc")
        rows = read_table(str(tmp_path / "t.csv"), Columns(), encoding.removesuffix("-sig"))
        assert len([*rows]) == 1
    (tmp_path / "t.csv").write_bytes(b"path,label\n\x81.wav,x\n")
    with pytest.raises(ValueError, match=re.escape("t.csv:2: not cp1252 (byte 0x81), expected")):
        [*read_table(str(tmp_path / "t.csv"), Columns(), "cp1252")]
    with pytest.raises(ValueError, match="t.csv: not utf-16: "):
        [*read_table(str(tmp_path / "t.csv"), Columns(), "utf-16")]


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


NFC, NFD = "\xe9.wav", "e\u0301.wav"


@pytest.mark.parametrize(
    "paths, names, notes",
    [
        ([" a.wav", "a.wav"], [" a.wav", "a.wav"], []),
        ([" a.wav"], ["a.wav"], ["1 names fit those of files but for blanks around them, e.g."]),
        (["d/a .wav"], [" a"], ["1 names fit those of files but for blanks around them, e.g. ' a"]),
        (["d/a.wav"], ["/data/d/a.wav "], ["1 names fit those of files but for blanks around"]),
        ([NFD, NFC], [NFD, NFC], []),
        ([NFD], [NFC], ["1 names fit those of files but for their Unicode form (NFC, NFD), e.g."]),
        ([f"d/{NFC}"], [f"/data/d/{NFD}"], ["1 names fit those of files but for their Unicode f"]),
        (["b\udcf6.wav"], ["b\udcf6"], []),
    ],
)
def test_names_fit_exactly_or_but_for_blanks_or_unicode_form(paths, names, notes):
    rows = [Row(name, [str(index)], None, "t:2") for index, name in enumerate(names)]
    found = annotate(rows, "/data", paths)
    assert found.labels == {path: [str(index)] for index, path in enumerate(paths)}
    assert [note[: len(start)] for note, start in zip(found.notes, notes, strict=True)] == notes
    assert found.left_out == found.warnings == []


def test_two_files_that_a_name_fits_loosely_are_refused():
    with pytest.raises(ValueError, match="t:2: found ' a.wav', which 2 files are called"):
        annotate([Row(" a.wav", ["x"], None, "t:2")], "/data", ["d/a.wav", "e/a.wav "])


def test_another_case_and_backslashes_are_hinted_at():
    rows = [Row(name, ["x"], None, "t:2") for name in ("Sub\\X.WAV", "gone.wav", "x.Wav")]
    found = annotate(rows, "/data", ["sub/x.wav"])
    assert found.left_out == [
        ("Sub\\X.WAV", "no such audio file (t:2); there is 'sub/x.wav'"),
        ("gone.wav", "no such audio file (t:2)"),
        ("x.Wav", "no such audio file (t:2); there is 'sub/x.wav'"),
    ]
    [warning] = found.warnings
    assert warning == (
        "2 rows are not used because case or slashes differ, e.g. 'Sub\\\\X.WAV' (t:2): there is"
        " 'sub/x.wav'"
    )


def test_bytes_that_name_no_file_are_no_utf8():
    with pytest.raises(ValueError, match=re.escape("t:2: not UTF-8 (byte 0xf6), expected UTF-8")):
        annotate([Row("b\udcf6.wav", ["x"], None, "t:2")], "/data", ["b\xf6.wav"])


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
    paths = ["x.wav", "a/b/y_1-2.wav"]
    for source, names, reason in (
        ("parent", ["b"], "in no folder that would be its label"),
        ("top", ["a"], "in no folder that would be its label"),
        (
            "regex:[a-z]_(\\d)-(?:(\\d)|(x))",
            ["1", "2"],
            "no match of '[a-z]_(\\\\d)-(?:(\\\\d)|(x))'",
        ),
        ("regex:b/y", ["b/y"], "no match of 'b/y'"),
    ):
        found = label_by_path(paths, source)
        assert found.labels == {"a/b/y_1-2.wav": names}
        assert found.left_out == [("x.wav", reason)]
    assert split_by_top(["a/b/y.wav", "c/x.wav"]) == {"a/b/y.wav": "a", "c/x.wav": "c"}
    with pytest.raises(ValueError, match=re.escape("--splits-from top: found 'x.wav', expected")):
        split_by_top(["a/y.wav", "x.wav"])
