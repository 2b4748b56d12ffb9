import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eat.data.events import Event, EventTable, read_events, write_events
from eat.data.labels import Label, LabelError
from eat.data.manifest import Manifest, write_manifest

CLASSES = [Label(0, "/m/1", "Speech"), Label(1, "dog", "Dog, small"), Label(2, "x", "X")]
CLIPS = ["a b.wav", "rec.flac/1.25-2.5", "c\td.wav", "\udcff.wav"]


@pytest.fixture
def read(tmp_path):
    """The events in a file with some text, of `CLIPS`."""
    write_manifest(tmp_path / "train.tsv", ".", [(clip, 16000) for clip in CLIPS])

    def read(text=None):
        path = tmp_path / "train.events.tsv"
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_events(path, Manifest(tmp_path / "train.tsv"), CLASSES)

    return read


HEADER = "filename\tonset\toffset\tevent_label\n"


def test_events_of_each_clip_in_order(read):
    table = read(
        f"\ufeff{HEADER}c\td.wav\t1.5\t2\tdog\r\na b.wav\t3\t4.25\tSpeech\n"
        "c\td.wav\t0.5\t9\t/m/1\nrec.flac/1.25-2.5\t\t\t\nc\td.wav\t.5\t9\tX\n\n"
    )
    assert len(table) == 4
    assert table.num_classes == 3
    assert table.events(0) == [Event(3.0, 4.25, 0)]
    assert table.events(1) == []
    assert table.events(2) == [Event(0.5, 9.0, 0), Event(0.5, 9.0, 2), Event(1.5, 2.0, 1)]
    assert table.counts.tolist() == [2, 1, 1]
    joined = EventTable.join([table, table])
    assert [joined.events(clip) for clip in (4, 6)] == [table.events(0), table.events(2)]
    with pytest.raises(IndexError, match="events of clip 4 of 4"):
        table.events(4)


def test_no_events_at_all(read):
    assert read(HEADER).counts.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "lines, message",
    [
        ("", "train.events.tsv:1: found no header, expected filename<TAB>onset<TAB>offset<TAB>"),
        ("a b.wav\t1\t2\tdog\n", "train.events.tsv:1: found no header, expected filename<TAB>"),
        (f"{HEADER}a b.wav 1 2 dog", "train.events.tsv:2: found 'a b.wav 1 2 dog', expected"),
        (f"{HEADER}\na b.wav\t1\t2\tdog", "train.events.tsv:2: found '', expected filename"),
        (f"{HEADER}a.wav\t1\t2\tdog", "tsv:2: found the clip 'a.wav', expected one of /"),
        (f"{HEADER}a b.wav\t1\t2\tcat", "2: found the label 'cat', expected an id of label_descr"),
        (f"{HEADER}a b.wav\t1,5\t2\tdog", "tsv:2: found the times '1,5' and '2', expected seconds"),
        (f"{HEADER}a b.wav\t2\t2\tdog", "tsv:2: found an event from 2 to 2 s, expected one that"),
        (f"{HEADER}a b.wav\t3\t2\tdog", "tsv:2: found an event from 3 to 2 s, expected one that"),
        (f"{HEADER}a b.wav\t-1\t2\tdog", "tsv:2: found an event from -1 to 2 s, expected one"),
        (f"{HEADER}a b.wav\t1\tnan\tdog", "tsv:2: found an event from 1 to nan s, expected one"),
        (f"{HEADER}a b.wav\t1\tinf\tdog", "tsv:2: found an event from 1 to inf s, expected one"),
        (f"{HEADER}a b.wav\t\t2\tdog", "tsv:2: found the times '' and '2', expected seconds"),
    ],
)
def test_a_bad_line_is_named(read, lines, message):
    with pytest.raises(LabelError, match=re.escape(message)):
        read(lines)


def test_a_missing_file_says_how_to_make_it(read):
    with pytest.raises(FileNotFoundError, match=r"no such events: .*/train.events.tsv \(`eat man"):
        read()


TIMES = st.integers(0, 10**11).map(lambda micros: micros / 1e6)
EVENTS = st.tuples(st.sampled_from(CLIPS), TIMES, TIMES, st.sampled_from(CLASSES))


@given(st.lists(EVENTS.filter(lambda event: event[1] < event[2])))
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_is_read(tmp_path, read, events):
    path = tmp_path / "train.events.tsv"
    entries = [(clip, onset, offset, label.id) for clip, onset, offset, label in events]
    assert write_events(path, entries) == len(entries)
    table = read()
    for index, clip in enumerate(CLIPS):
        expected = [Event(on, off, label.index) for name, on, off, label in events if name == clip]
        assert table.events(index) == sorted(expected)
    assert np.array_equal(table.counts, np.bincount([e[3].index for e in events], minlength=3))


@pytest.mark.parametrize(
    "entry, message",
    [
        (("a", 1, 1, "x"), "found an event from 1 to 1 s, expected one that ends after its start"),
        (("a", 1, 1 + 1e-8, "x"), "found an event from 1 to 1 s, expected one that ends after"),
        (("a\nb", 1, 2, "x"), "found the clip 'a\\nb' with the class 'x', expected names without"),
        (("a", 1, 2, "x\ty"), "found the clip 'a' with the class 'x\\ty', expected names without"),
    ],
)
def test_impossible_events_are_not_written(tmp_path, entry, message):
    with pytest.raises(LabelError, match=re.escape(message)):
        write_events(tmp_path / "e.tsv", [("b.wav", 0, 1, "x"), entry])
    assert not (tmp_path / "e.tsv").exists()
