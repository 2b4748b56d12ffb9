"""Small imitations of tables of events, with their quirks."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eat.data.annotations import Columns
from eat.data.annotations.event_tables import find_tables, name_of_recording, read_events_of
from eat.data.annotations.matching import FileNames


@pytest.fixture
def read(tmp_path):
    """The clip, labels and times of each row in a table with some text, without the first row of a
    table of one recording.
    """

    def read(text, *columns, encoding=None, **named):
        path = tmp_path / "t.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        rows = [*read_events_of(str(path), Columns(*columns, **named), encoding)]
        if rows and rows[0][:3] == ("", [], None) and rows[0].times is None:
            del rows[0]
        return [(row.clip, row.labels, row.times) for row in rows]

    return read


RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
    "\tSpecies\r\n"
    "1\tWaveform 1\t1\t1.25\t2.5\t\t\tTroglodytes\r\n"
    "1\tSpectrogram 1\t1\t1.25\t2.5\t1000.0\t2000.0\tTroglodytes\r\n"
    "2\tSpectrogram 1\t1\t2.0\t6.5\t0.0\t900.0\t\r\n"
)


def test_raven(read):
    assert read(RAVEN) == [
        ("", ["Troglodytes"], (1.25, 2.5)),
        ("", ["Troglodytes"], (1.25, 2.5)),
        ("", [], (2.0, 6.5)),
    ]
    # Of several files: times count from the first one's start.
    text = (
        "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
        "7\t3600.5\t3602.0\tb.wav\t0.5\twren, male\n"
    )
    assert read(text) == [("b.wav", ["wren, male"], (0.5, 2.0))]
    german = "Auswahl\tAnfangszeit (s)\tEndzeit (s)\tArt\n1\t1,25\t2,5\tM\xf6nchsgrasm\xfccke\n"
    columns = {"onset": "anfangszeit (s)", "offset": "Endzeit (s)", "label": "Art"}
    found = read(german.encode("latin-1"), encoding="latin-1", **columns)
    assert found == [("", ["M\xf6nchsgrasm\xfccke"], (1.25, 2.5))]


def test_audacity(read):
    text = '\ufeff0.500000\t1.500000\twren "song"\r\n\\\t100.0\t200.0\r\n3,25\t3,25\tpoint\r\n\r\n'
    expected = [("", ['wren "song"'], (0.5, 1.5)), ("", ["point"], (3.25, 3.25))]
    assert read(text) == expected
    assert read(text.replace("\r\n", "\n").rstrip()) == expected
    assert read("1.0\t2.0\t\n1\t2\n") == [("", [], (1.0, 2.0)), ("", [], (1.0, 2.0))]
    assert read("1.0\t2.0\ta\tb\n".replace("\tb", "")) == [("", ["a"], (1.0, 2.0))]
    assert read("") == []
    assert read("\r\n") == []


def test_audioset_strong(read):
    text = (
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "b0RFKhbpFJA_30000\t0.0\t10.0\t/m/03m9d0z\n"
    )
    assert read(text) == [("b0RFKhbpFJA_30000", ["/m/03m9d0z"], (0.0, 10.0))]


def test_dcase(read):
    text = (
        "filename\tonset\toffset\tevent_label\n"
        "a.wav\t0.5\t1.5\tSpeech\nempty.wav\t\t\t\nempty2.wav\n"
    )
    assert read(text) == [
        ("a.wav", ["Speech"], (0.5, 1.5)),
        ("empty.wav", [], None),
        ("empty2.wav", [], None),
    ]


def test_any_csv(read):
    text = 'Recording;Start (s);End (s);Labels;x\n"a;b.wav";"1,5";2;"wren, robin";y\n'
    assert read(text) == [("a;b.wav", ["wren", "robin"], (1.5, 2.0))]
    text = "id,von,bis,was,datei\n1,.5,1e1,wren|robin,a\n"
    columns = Columns(clip="datei", label="was", separator="|", onset="von", offset="bis")
    assert read(text, *columns) == [("a", ["wren", "robin"], (0.5, 10.0))]


def test_where_rows_are(tmp_path):
    (tmp_path / "a.txt").write_text("\n0\t1\tx\n\\\t1\t2\n1\t2\ty\n")
    rows = read_events_of(str(tmp_path / "a.txt"), Columns())
    assert [row.location for row in rows] == [f"{tmp_path}/a.txt:{line}" for line in (1, 2, 4)]


@pytest.mark.parametrize(
    "text, message",
    [
        ("0\t1\ta\nx\t2\tb\n", "t.txt:2: found the time 'x', expected seconds, as 12.5"),
        ("0\t1\ta\n1:05\t2\tb\n", "t.txt:2: found the time '1:05', expected seconds, as 12.5"),
        ("0\t1\ta\n1\n", "t.txt:2: found the time '', expected seconds, as 12.5"),
        ("onset,offset,label\n1,nan,a\n", "t.txt:2: found the time 'nan', expected seconds"),
        ("onset,offset,label\n1,,a\n", "t.txt:2: found the time '', expected seconds"),
        ("onset,offset,label\n1.000,5,1,a\n", "t.txt:2: found more cells than the header has"),
        ("onset;offset;label\n1.000,5;1;a\n", "t.txt:2: found the time '1.000,5', expected sec"),
        ("von,bis,label\n1,2,a\n", "t.txt:1: found the columns 'von', 'bis', 'label', expected on"),
        ("von,bis,label\n1,2,a\n", "(--onset-column names it)"),
        ("onset,label\n1,a\n", "(--offset-column names it)"),
        ("onset,offset\n1,2\n", "(--label-column names it)"),
        ("onset,offset,annotation,species\n", "expected one called 'label' or"),
        ("file,filename,onset,offset,label\n", "expected one called 'path' or"),
        ("file,onset,offset,label\n,1,2,a\n", "t.txt:2: found an empty 'file', expected one"),
        ("begin,end,label,file offset (s)\n1,2,a,\n", "t.txt:2: found the time '', expected sec"),
        (b"0\t1\tB\xf6e\n", "t.txt:1: not UTF-8 (byte 0xf6), expected UTF-8, or for"),
        ("0\t1\ta\x07\n", "t.txt:1: found 'a\\x07', expected an id or name in UTF-8 without"),
        ('onset,offset,label\n1,2,"a\n', "t.txt:2: unexpected end of data, expected CSV"),
        ("{}", "t.txt:1: found the columns '{}', expected one called 'label' or"),
    ],
)
def test_a_bad_table_is_named(read, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(text)


TIMES = st.integers(0, 10**10).map(lambda micros: micros / 1e6)
# What all formats can hold; a cell may begin with a quote only where there are quotes.
LABELS = st.text(st.sampled_from("aZ é音,;'-_.:/()"), min_size=1).map(str.strip).filter(bool)
EVENTS = st.lists(st.tuples(st.sampled_from(["a b.wav", "d/é.flac"]), LABELS, TIMES, TIMES))
QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _write(events, header, row, newline="\n", decimal=".", mark=""):
    lines = [header] if header else []
    for clip, label, onset, offset in events:
        times = [f"{seconds:.6f}".replace(".", decimal) for seconds in (onset, offset)]
        lines.append(row.format(clip=clip, label=label, on=times[0], off=times[1]))
    return mark + "".join(line + newline for line in lines)


@QUICK
@given(
    EVENTS, st.sampled_from(["\n", "\r\n"]), st.sampled_from(".,"), st.sampled_from(["", "\ufeff"])
)
def test_what_is_written_in_any_format_is_read(read, events, newline, decimal, mark):
    how = newline, decimal, mark
    of_one = [("", [label], (on, off)) for _, label, on, off in events]
    of_many = [(clip, [label], (on, off)) for clip, label, on, off in events]
    assert read(_write(events, "", "{on}\t{off}\t{label}", *how)) == of_one
    raven = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tAnnotation"
    assert read(_write(events, raven, "1\tx\t1\t{on}\t{off}\t\t{label}", *how)) == of_one
    dcase = "filename\tonset\toffset\tevent_label"
    assert read(_write(events, dcase, "{clip}\t{on}\t{off}\t{label}", *how)) == of_many
    strong = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel"
    assert read(_write(events, strong, "{clip}\t{on}\t{off}\t{label}", *how)) == of_many
    text = _write(events, "file,start,end,label", '"{clip}","{on}","{off}","{label}"', *how)
    assert read(text) == of_many


@QUICK
@given(
    st.lists(
        st.sampled_from(
            ["onset", "offset", "label", "file", ",", "\t", "1", ".", "\\", '"', "\n", "\r", "\0"]
        )
    )
)
def test_any_text_is_a_table_or_a_value_error(read, pieces):
    try:
        read("".join(pieces))
    except ValueError as error:
        assert re.search(r"t\.txt:\d+: ", str(error))


def test_which_recording_a_table_is_of(tmp_path):
    files = FileNames(str(tmp_path), ["dawn.wav", "day 1/a.b.flac", "day 2/a.b.flac"])
    for name in ("dawn.txt", "dawn.Table.1.selections.txt", "x/dawn.wav.csv", "dawn.BirdNET.txt"):
        assert name_of_recording(name, files) in ("dawn", "dawn.wav")
    table = f"{tmp_path}/day 2/a.b.Table.1.txt"  # beside its recording
    assert files.find(name_of_recording(table, files)) == ["day 2/a.b.flac"]
    assert len(files.find(name_of_recording("a.b.txt", files))) == 2
    assert name_of_recording("dusk.txt", files) is None


def test_names_from_the_working_directory(tmp_path, monkeypatch):
    """As `eat tag recordings/ --format csv` prints them."""
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "dawn.wav").touch()
    monkeypatch.chdir(tmp_path)
    files = FileNames("recordings", ["dawn.wav"])
    assert files.find("recordings/dawn.wav") == ["dawn.wav"]
    assert files.find("recordings/dusk.wav") == []


def test_tables_in_folders(tmp_path):
    for name in ("b.txt", "c/a.TSV", "c/d.wav", "a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "x.log").write_text("")
    names = ("x.log", "a.csv", "b.txt", "c/a.TSV")
    found = [*find_tables([f"{tmp_path}/x.log", str(tmp_path)])]
    assert found == [f"{tmp_path}/{name}" for name in names]
    (tmp_path / "empty").mkdir()
    for name, message in (("absent.txt", "no such table: .*absent"), ("empty", "found no table")):
        with pytest.raises(FileNotFoundError, match=message):
            next(find_tables([f"{tmp_path}/{name}"]))
