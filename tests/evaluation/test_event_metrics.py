import importlib.util

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from eat.data.events import Event
from eat.evaluation.event_metrics import (
    OperatingPoint,
    Recordings,
    find_events,
    median_filter,
    require_event_metrics,
)

CLASSES = ["bark", "bell", "rain", "never"]
STEP = 0.16


def make(num_recordings=4, seconds=20.1, noise=1.5, seed=0):
    """Scores that follow events with errors; the last class has none."""
    generator = np.random.default_rng(seed)
    scores, events, durations = {}, {}, {}
    num_steps = int(np.ceil(seconds / STEP))
    for number in range(num_recordings):
        found, logits = [], np.full((num_steps, 4), -2.0)
        for label in range(3):
            onset = generator.uniform(0, 4)
            while onset < seconds:
                offset = min(onset + generator.uniform(0.3, 2.5), seconds)
                found.append(Event(onset, offset, label))
                logits[int(onset / STEP) : int(np.ceil(offset / STEP)), label] = 2.0
                onset = offset + generator.uniform(0.1, 5)
        logits += noise * generator.standard_normal(logits.shape)
        name = f"recording {number}"
        scores[name] = (1 / (1 + np.exp(-logits))).astype(np.float32)
        events[name], durations[name] = sorted(found), seconds
    return scores, events, durations, STEP, CLASSES


@pytest.fixture
def libraries():
    for name in ("sed_eval", "sed_scores_eval"):
        pytest.importorskip(name)


def test_runs_above_the_threshold_are_events():
    scores = np.array([[0.9, 0.1], [0.8, 0.6], [0.5, 0.7], [0.9, 0.2], [0.9, 0.9]])
    found = find_events(scores, 0.5, np.array([0.5, 0.4]))
    assert [event[:3] for event in found] == [
        *(Event(0.0, 1.0, 0), Event(0.5, 1.5, 1)),
        *(Event(1.5, 2.5, 0), Event(2.0, 2.5, 1)),
    ]
    found = find_events(scores, 0.5, np.array([0.5, 0.4]), 3)
    assert [event[:3] for event in found] == [
        *(Event(0.0, 2.5, 0), Event(0.5, 2.5, 1)),
    ]


def test_the_median_filter_repeats_the_ends():
    scores = np.random.default_rng(0).random((9, 2))
    found = median_filter(scores, 5)
    for step in range(9):
        around = scores[[min(max(i, 0), 8) for i in range(step - 2, step + 3)]]
        assert np.array_equal(found[step], np.median(around, axis=0))
    assert median_filter(scores, 1) is scores


def test_average_precision_of_steps():
    """Needs neither library. A step is positive if at least half of it is covered."""
    scores, events, durations, *rest = make(2)
    targets = []
    for name in scores:
        covered = np.zeros((len(scores[name]), 3))
        for step in range(len(covered)):
            begin, end = step * STEP, min((step + 1) * STEP, durations[name])
            for onset, offset, label in events[name]:
                covered[step, label] += max(0, min(end, offset) - max(begin, onset)) / (end - begin)
        targets.append(covered >= 0.5)
    values = np.concatenate(list(scores.values()))
    columns = zip(np.concatenate(targets).T, values.T, strict=False)
    expected = [average_precision_score(target, score) for target, score in columns]
    found = Recordings(scores, events, durations, *rest).measure(names=["mAP"])
    assert found == {"mAP": pytest.approx(np.mean(expected), abs=1e-12)}
    none = {name: [] for name in events}
    assert np.isnan(Recordings(scores, none, durations, *rest).measure(names=["mAP"])["mAP"])


def test_what_is_missing_is_named_and_bad_scores_are_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError,
        match=r"found no sed_eval and no sed_scores_eval and no pkg_resources, .*\[events\]",
    ):
        require_event_metrics()
    scores, *rest = make(1)
    scores["recording 0"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"recording 0: found shape \(126, 4\) with 1 NaN"):
        Recordings(scores, *rest)


def test_f1_is_that_of_sed_eval(libraries):
    from sed_eval.sound_event import EventBasedMetrics, SegmentBasedMetrics

    scores, events, durations, *_ = data = make()
    point = OperatingPoint(np.array([0.5, 0.4, 0.6, 0.5]), 3)
    classes = CLASSES[:3]
    by_event = EventBasedMetrics(classes, t_collar=0.2, percentage_of_length=0.2)
    by_segment = SegmentBasedMetrics(classes, time_resolution=1.0)

    def as_list(name, found):
        return [
            {
                "file": name,
                "event_onset": onset,
                "event_offset": min(offset, durations[name]),
                "event_label": CLASSES[label],
            }
            for onset, offset, label in found
            if label < 3
        ]

    for name, of_recording in scores.items():
        found = [event[:3] for event in find_events(of_recording, STEP, *point)]
        lists = as_list(name, events[name]), as_list(name, found)
        by_event.evaluate(*lists)
        by_segment.evaluate(*lists, evaluated_length_seconds=durations[name])
    found = Recordings(*data).measure(point)
    for key, metrics in (("event_f1", by_event), ("segment_f1", by_segment)):
        expected = metrics.results_class_wise_average_metrics()["f_measure"]["f_measure"]
        assert found[key] == pytest.approx(expected, abs=1e-12) and 0.2 < expected < 1
    never = point._replace(thresholds=np.array([0.5, 2.0, 0.6, 0.5]))
    lower = Recordings(*data).measure(never)
    assert lower["segment_f1"] < found["segment_f1"] * 0.8  # a class that is never found counts 0


def test_psds_is_that_of_sed_scores_eval(libraries):
    from sed_scores_eval.base_modules.scores import create_score_dataframe
    from sed_scores_eval.intersection_based import psds

    scores, events, durations, *_ = data = make(noise=0.9)
    frames, truth = {}, {}
    for name, values in scores.items():
        edges = np.append(np.arange(len(values)) * STEP, durations[name])
        values = median_filter(values[:, :3].astype(float), 3)
        frames[name] = create_score_dataframe(values, edges, CLASSES[:3])
        truth[name] = [(onset, offset, CLASSES[label]) for onset, offset, label in events[name]]
    settings = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "max_efpr": 100.0}
    expected, by_class, *_ = psds(frames, truth, durations, alpha_st=1.0, **settings)
    found = Recordings(*data).measure(OperatingPoint(np.full(4, 0.5), 3))
    assert found["psds"] == pytest.approx(expected, abs=1e-9) and 0.1 < expected < 1
    assert found["psds_macro"] == pytest.approx(np.mean(list(by_class.values())), abs=1e-9)
    assert "event_f1" not in Recordings(*data).measure()  # it needs thresholds


def test_thresholds_are_those_of_the_best_event_f1(libraries):
    data = make()
    recordings = Recordings(*data)
    point = recordings.choose_thresholds()
    best = recordings.measure(point)["event_f1"]
    assert point.thresholds[3] == 0.5 and point.median_steps in (1, 3, 7)
    for change in (-0.1, 0.1):
        for label in range(3):
            other = point._replace(thresholds=point.thresholds.copy())
            other.thresholds[label] += change
            assert recordings.measure(other)["event_f1"] <= best + 1e-9
    for steps in (1, 3, 7):
        assert recordings.measure(point._replace(median_steps=steps))["event_f1"] <= best
    none = {name: [] for name in data[1]}
    silent = Recordings(data[0], none, *data[2:])
    point = silent.choose_thresholds()
    assert point.thresholds.tolist() == [0.5] * 4 and point.median_steps == 1
    assert all(np.isnan(v) for v in silent.measure(point).values())


def test_events_of_a_class_that_touch_count_once(libraries):
    scores, events, *rest = make(1)
    point = OperatingPoint(np.full(4, 0.5), 3)
    expected = Recordings(scores, events, *rest).measure(point)
    halves = {
        name: [
            half
            for onset, offset, label in found
            for half in (
                Event(onset, (onset + offset) / 2, label),
                Event((onset + offset) / 2, offset, label),
            )
        ]
        for name, found in events.items()
    }
    assert Recordings(scores, halves, *rest).measure(point) == expected
