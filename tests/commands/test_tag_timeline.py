"""`eat tag --timeline`, with a classifier whose answer is local."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from timeline_sound import EVENTS, RATE_HZ, Loud, make_sound

import eat
from eat.audio import AudioError
from eat.audio.stream import read_stream
from eat.commands.main import main
from eat.evaluation import tag_over_time

SECONDS = 12


@pytest.fixture
def classifier(monkeypatch):
    classifier = Loud()
    monkeypatch.setattr(eat.checkpoint, "load_classifier", lambda *_: classifier)
    return classifier


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("a.wav", "sub/b.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, make_sound(SECONDS), RATE_HZ)
    return [str(folder / "a.wav"), str(folder / "sub/b.wav")]


def tag(*arguments):
    return main(["tag", *map(str, arguments), "--timeline", "--checkpoint", "some.pt"])


def expected_events(classifier, path):
    ((_, events),) = tag_over_time(path, classifier).files
    assert len(events) == sum(onset < SECONDS for onset, *_ in EVENTS) == 3
    return events


def test_events_for_programs_and_people(capsys, classifier, paths):
    events = expected_events(classifier, paths[0])
    assert tag(*paths, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == [{"path": path, "events": [e._asdict() for e in events]} for path in paths]
    assert tag(*paths, "absent.wav") == 1
    out, err = capsys.readouterr()
    assert err == "failed absent.wav: no such audio file: absent.wav\n"
    lines = out.splitlines()
    assert (lines[0], lines[4]) == (paths[0], paths[1])
    for line, event in zip(lines[1:4], events, strict=True):
        onset, offset, score, label = line.split(maxsplit=3)
        assert (float(onset), float(offset)) == pytest.approx(event[:2], abs=0.005)
        assert (float(score), label) == (pytest.approx(event.score, abs=5e-5), event.label)


def test_a_table_of_all_recordings(tmp_path, classifier, paths):
    assert tag(*paths, "--format", "csv", "--out", tmp_path / "events.csv") == 0
    with open(tmp_path / "events.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["filename", "onset", "offset", "event_label", "score"]
    events = expected_events(classifier, paths[0])
    assert [row[0] for row in rows] == [paths[0]] * 3 + [paths[1]] * 3
    for row, event in zip(rows, events * 2, strict=True):
        values = list(map(float, (row[1], row[2], row[4])))
        assert values == pytest.approx([event.onset, event.offset, event.score], abs=1e-4)
        assert row[3] == event.label


def test_tables_of_annotation_programs_have_a_file_for_each_recording(tmp_path, classifier, paths):
    events = expected_events(classifier, paths[0])
    for name, header in (
        ("audacity", None),
        (
            "raven",
            "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\t"
            "High Freq (Hz)\tLabel\tScore",
        ),
    ):
        assert tag(*paths, "--format", name, "--out", tmp_path / name) == 0
        for file in ("a.wav.txt", "sub/b.wav.txt"):
            lines = (tmp_path / name / file).read_text().splitlines()
            if header is not None:
                assert lines.pop(0) == header
            rows = list(csv.reader(lines, delimiter="\t"))
            for number, (row, event) in enumerate(zip(rows, events, strict=True), start=1):
                times = [f"{event.onset:.6f}", f"{event.offset:.6f}"]
                begin = [str(number), "Spectrogram 1", "1"]
                band = ["20", "8000"]
                raven = [*begin, *times, *band, event.label, f"{event.score:.4f}"]
                assert row == (raven if name == "raven" else [*times, event.label])


def test_the_threshold_and_the_hop(capsys, classifier, paths):
    assert tag(paths[0], "--threshold", "1") == 0
    assert capsys.readouterr().out == f"{paths[0]}\n"
    for impossible in ("nan", "2", "-0.1"):
        assert tag(paths[0], "--threshold", impossible) == 1
        found = f"threshold: found {float(impossible)}, expected a probability, 0 to 1\n"
        assert capsys.readouterr().err == f"eat tag: error: {found}"
    assert tag(paths[0], "--hop-seconds", "30") == 1
    error = "hop_seconds: found 30, expected 0.16 to 10.24 seconds"
    assert capsys.readouterr().err == f"eat tag: error: {error}\n"
    assert tag(paths[0], "--threshold", "absent.json") == 1
    assert "absent.json" in capsys.readouterr().err
    assert main(["tag", paths[0], "--checkpoint", "some.pt"]) == 1
    error = "found a classifier that scores steps of time, expected one of whole clips: call"
    assert capsys.readouterr().err.startswith(f"eat tag: error: {error}")


class Pipe(io.BytesIO):
    """Stdin that holds some bytes, after which Ctrl-C is pressed."""

    def read1(self, size=-1):
        content = super().read1(size)
        if not content:
            raise KeyboardInterrupt
        return content


def test_events_of_stdin_are_those_of_the_file(capsys, monkeypatch, classifier, paths):
    assert tag(paths[0], "--format", "csv") == 0
    expected = capsys.readouterr().out
    samples = soundfile.read(paths[0], dtype="int16")[0].astype("<i2").tobytes()
    for content, options in ((samples, ["--rate", RATE_HZ]), (Path(paths[0]).read_bytes(), [])):
        stdin = io.TextIOWrapper(Pipe(content))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert tag("-", "--format", "csv", *options) == 0
        found = capsys.readouterr().out
        assert sorted(found.splitlines()) == sorted(expected.replace(paths[0], "").splitlines())


@pytest.mark.parametrize(
    "arguments, error",
    [
        ("a.wav --format csv", "--format: found without --timeline"),
        ("a.wav --threshold 0.3 --hop-seconds 0", "--threshold, --hop-seconds: found without"),
        ("a.wav --timeline --json --out x.csv", "--out: found with --timeline --json and files"),
        ("a.wav --timeline --top 3 --rate 8000", "--top, --rate: found with --timeline and files"),
        ("- --timeline --rate 16000 --out x.csv", "--out: found with the input -, expected none"),
    ],
)
def test_options_without_effect_are_refused(capsys, arguments, error):
    assert main(["tag", "--checkpoint", "some.pt", *arguments.split()]) == 1
    assert capsys.readouterr().err.startswith(f"eat tag: error: {error}")


def test_streams_that_cannot_be_used():
    def read(content, rate_hz=None):
        return np.concatenate([*read_stream(io.BytesIO(content), 16000, rate_hz)])

    def as_wav(**settings):
        file = io.BytesIO()
        soundfile.write(file, np.full((800, 2), [0.25, 0.5]), 16000, format="WAV", **settings)
        return file.getvalue()

    wav = as_wav(subtype="PCM_16")
    assert (read(wav) == 0.375).all() and len(read(wav)) == 800
    assert len(read(wav + b"LIST\4\0\0\0abcd")) == 800
    unsized = wav.replace(b"data\x80\x0c\0\0", b"data\xff\xff\xff\xff")
    assert unsized != wav and len(read(unsized)) == 800
    with pytest.raises(
        AudioError, match="stdin: found samples without a header, expected their ra"
    ):
        read(bytes(100))
    with pytest.raises(AudioError, match="stdin: found a rate of 16000 Hz, expected 8000 Hz"):
        read(wav, 8000)
    for subtype, found in (("FLOAT", "encoding 3 with 32 bits"), ("PCM_24", "encoding 1 with 24")):
        with pytest.raises(AudioError, match=f"stdin: found a WAV of {found}"):
            read(as_wav(subtype=subtype))


def test_the_figure_shows_events_above_the_spectrogram(capsys, monkeypatch, classifier, paths):
    pytest.importorskip("matplotlib")
    import eat.figures

    saved = []
    monkeypatch.setattr(eat.figures, "save_figure", lambda figure, path: saved.append(figure))
    assert tag(paths[0], "--figure", "a.png") == 0
    events = expected_events(classifier, paths[0])
    above, below, *_ = saved[0].axes
    assert [label.get_text() for label in above.get_yticklabels()] == classifier.labels
    spans = [bar.get_paths()[0].get_extents().intervalx for bar in above.collections]
    assert sorted(map(tuple, spans)) == sorted(event[:2] for event in events)
    image = below.images[0]
    assert image.get_extent()[1] == pytest.approx(SECONDS, abs=0.16)
    whole = eat.LogMel(target_length=None)(torch.from_numpy(eat.read_audio(paths[0])))[0, 0]
    np.testing.assert_allclose(image.get_array().T, whole * 2 * 4.569 - 4.268, atol=0.001)
    assert tag(*paths, "--figure", "a.png") == 1
    error = "eat tag: error: --figure: found {} recordings, expected one\n"
    assert capsys.readouterr().err == error.format(2)
    assert tag("absent.wav", "--figure", "a.png") == 1
    reason = "failed absent.wav: no such audio file: absent.wav\n"
    assert capsys.readouterr().err == reason + error.format(0)
