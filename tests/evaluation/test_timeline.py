import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from timeline_sound import EVENTS, RATE_HZ, Loud, make_sound

import eat
from eat.audio.stream import read_stream
from eat.evaluation import EventFinder, EventWriter, Scorer, find_events, tag_stream


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    soundfile.write(path, make_sound(), RATE_HZ, subtype="PCM_16")
    return str(path)


def events_of(path, classifier, **settings):
    (_, events), *_ = eat.tag_over_time(path, classifier, **settings).files
    return events


def assert_right(events, names, tolerance):
    expected = sorted((on, off, names[hertz > 1000]) for on, off, hertz in EVENTS)
    assert [event.label for event in events] == [label for *_, label in expected]
    for event, (onset, offset, _) in zip(events, expected, strict=True):
        assert event.onset == pytest.approx(onset, abs=tolerance)
        assert event.offset == pytest.approx(offset, abs=tolerance)
        assert 0.5 <= event.score <= 1


@pytest.mark.parametrize("window_seconds", [None, 10, 20, 40])
@pytest.mark.parametrize("steps_per_row", [1, 4])
def test_seams_neither_double_nor_cut_an_event(sound, window_seconds, steps_per_row):
    classifier = Loud(steps_per_row=steps_per_row)
    events = events_of(sound, classifier, window_seconds=window_seconds)
    assert_right(events, classifier.labels, tolerance=0.16)
    whole = events_of(sound, classifier, window_seconds=60)
    assert [event[:3] for event in events] == [event[:3] for event in whole]
    assert events[-1].offset == 60.0  # the last step reaches beyond the end


def test_steps_of_a_classifier_of_clips_have_the_score_of_the_window_around_them(sound):
    classifier = Loud("mean")
    assert classifier.log_mel.target_length == 1024
    settings = {"window_seconds": 3.2, "hop_seconds": 0.32}
    found = []
    assert Scorer(classifier, **settings).run([sound], lambda *result: found.append(result)) == []
    ((index, scores, seconds),) = found
    assert (index, scores.shape, seconds) == (0, (375, 2), 60.0)
    source = eat.LogMel(target_length=None)(torch.from_numpy(eat.read_audio(sound)))
    for step in (100, 101, 230):  # rows 9-10, 11-12, ... of each window are those it keeps
        start = (step - 9) // 2 * 2
        window = classifier(source[:, :, start * 16 : (start + 20) * 16]).sigmoid()[0]
        # The front end subtracts the mean of each window's samples.
        assert scores[step] == pytest.approx(window.numpy(), abs=2e-3)


def test_a_threshold_is_any_number_from_0_to_1(sound):
    expected = events_of(sound, Loud(), threshold=0.5)
    assert events_of(sound, Loud(), threshold=np.float32(0.5)) == expected
    with pytest.raises(ValueError, match="threshold: found 50, expected a probability, 0 to 1"):
        events_of(sound, Loud(), threshold=50)


@pytest.mark.parametrize("pooling, length", [("mean", 112), ("time", 16)])
def test_windows_of_short_clips_move_on_by_a_step(sound, pooling, length):
    classifier = Loud(pooling)
    classifier.log_mel = replace(classifier.log_mel, target_length=length)
    found = []
    assert Scorer(classifier).run([sound], lambda *result: found.append(result)) == []
    assert found[0][1].shape == (375, 2)


@pytest.mark.parametrize(
    "pooling, rate_hz, as_wav",
    [("time", 16000, False), ("time", 44100, True), ("cls", 16000, True)],
)
@pytest.mark.parametrize("seconds", [60, 37.3, 12, 3])
def test_a_stream_has_the_events_of_the_file(tmp_path, pooling, rate_hz, as_wav, seconds):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, make_sound(60, rate_hz)[: int(seconds * rate_hz)], rate_hz)
    with open(path, "rb") as file:
        file.seek(0 if as_wav else 44)
        chunks = read_stream(Slow(file.read()), 16000, None if as_wav else rate_hz)
        classifier = Loud(pooling)
        found = sorted(tag_stream(chunks, classifier))
    expected = sorted(events_of(path, classifier))
    assert [event[:3] for event in found] == [event[:3] for event in expected]
    assert [event.score for event in found] == pytest.approx([e.score for e in expected], abs=1e-3)
    assert len(found) == {60: 7, 37.3: 4, 12: 3, 3: 0}[seconds] or pooling == "cls"


def test_times_are_the_recording_s_own_whatever_it_is_played_at(tmp_path):
    samples, classifier = make_sound(20), Loud()
    for name, rate_hz in (("slow.wav", RATE_HZ), ("fast.wav", 2 * RATE_HZ)):
        soundfile.write(tmp_path / name, samples, rate_hz)
    expected = events_of(tmp_path / "slow.wav", classifier)
    assert len(expected) == 4
    classifier.log_mel = replace(classifier.log_mel, speed=0.5)
    found = events_of(tmp_path / "fast.wav", classifier)
    content = (tmp_path / "fast.wav").read_bytes()
    chunks = read_stream(io.BytesIO(content), classifier.log_mel.reading_rate_hz)
    of_stream = sorted(event[:3] for event in tag_stream(chunks, classifier))
    assert of_stream == sorted(event[:3] for event in found)
    table = io.StringIO()
    EventWriter(table, "raven", classifier.log_mel).write("fast.wav", found)
    for event, other, line in zip(expected, found, table.getvalue().split("\n")[1:], strict=False):
        assert other[:2] == pytest.approx((event.onset / 2, event.offset / 2))
        assert line.split("\t")[3:7] == [f"{other.onset:.6f}", f"{other.offset:.6f}", "40", "16000"]


class Slow(io.BytesIO):
    """A pipe that holds as much as it holds."""

    def read1(self, size=-1):
        return super().read1(min(size, 12345))


@pytest.mark.parametrize("median_steps, expected", [
    (1, [(0, 1, 0), (2, 3, 0), (5, 8, 0), (4, 5, 1), (9, 10, 1)]),
    (3, [(0, 2, 0), (5, 8, 0), (9, 10, 1)]),
])  # fmt: skip
@pytest.mark.parametrize("num_at_once", [1, 3, 10])
def test_events_are_runs_above_the_threshold(median_steps, expected, num_at_once):
    scores = np.full((10, 2), 0.1)
    scores[[0, 2, 5, 6, 7], 0] = 0.6
    scores[[4, 9], 1] = 0.35
    finder = EventFinder(0.5, np.array([0.59, 0.3]), median_steps)
    found = []
    for first in range(0, 10, num_at_once):
        found += finder.push(scores[first : first + num_at_once])
    found += finder.finish()
    rows = sorted((start / 2, stop / 2, label) for start, stop, label in expected)
    assert [event[:3] for event in sorted(found)] == rows
    assert sorted(found) == find_events(scores, 0.5, np.array([0.59, 0.3]), median_steps)
    for onset, offset, label, score in found:
        assert score == pytest.approx(scores[int(onset * 2) : int(offset * 2), label].mean())
    with pytest.raises(ValueError, match="median_steps: found 2, expected an odd number"):
        find_events(scores, 0.5, 0.5, median_steps=2)


MEMORY = """
import resource, sys
import eat.evaluation
from timeline_sound import Loud

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

classifier = Loud()
for path in sys.argv[1:]:
    ((_, events),) = eat.tag_over_time(path, classifier).files
    print(len(events), peak())
"""


@pytest.mark.slow
def test_an_hour_takes_less_than_100_mb_more_than_three_minutes(tmp_path):
    paths = [str(tmp_path / f"{minutes}.flac") for minutes in (3, 60)]
    minute = make_sound()
    for path in paths:
        with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
            for _ in range(int(Path(path).stem)):
                file.write(minute)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEMORY, *paths]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (few, before), (many, after) = (map(float, line.split()) for line in run.stdout.splitlines())
    assert (few, many) == (3 * len(EVENTS), 60 * len(EVENTS))
    assert after - before < 100  # the samples alone are 230; two hours take no more
