"""Classifiers over time, on whole recordings with known events."""

import csv
import json

import numpy as np
import pytest
import soundfile
from timeline_sound import EVENTS, RATE_HZ, Loud, make_sound

import eat
from eat.commands.main import main
from eat.data.events import write_events
from eat.data.labels import Label, write_descriptors
from eat.evaluation import Evaluation, Scorer, evaluate_checkpoint, read_thresholds
from eat.evaluation.event_metrics import OperatingPoint, Recordings
from eat.evaluation.timeline import describe_thresholds


@pytest.fixture
def data(tmp_path, monkeypatch):
    pytest.importorskip("sed_eval")
    pytest.importorskip("sed_scores_eval")
    classifier = Loud()
    for name in ("load_checkpoint", "build_classifier"):
        monkeypatch.setattr(f"eat.evaluation.classifier.{name}", lambda _: classifier)
    monkeypatch.setattr(eat.checkpoint, "load_classifier", lambda *_: classifier)
    names = enumerate(classifier.labels)
    write_descriptors(
        tmp_path / "label_descriptors.csv", [Label(i, f"/{i}", name) for i, name in names]
    )
    sound = make_sound()
    for split, start in (("valid", 0), ("test", 20)):
        part = sound[start * RATE_HZ : (start + 40) * RATE_HZ]
        soundfile.write(tmp_path / f"{split}.wav", part, RATE_HZ)
        (tmp_path / f"{split}.tsv").write_text(f"{tmp_path}\n{split}.wav\t{len(part)}\n")
        events = [
            (f"{split}.wav", max(on - start, 0.0), min(off - start, 40.0), f"/{int(hertz > 1000)}")
            for on, off, hertz in EVENTS
            if start < off and on < start + 40
        ]
        write_events(tmp_path / f"{split}.events.tsv", events)
    return tmp_path


def test_whole_recordings_are_evaluated_and_thresholds_chosen_on_another_split(data, capsys):
    arguments = ["evaluate", "some.pt", "--data", str(data), "--split", "test", "--json"]
    assert main([*arguments, "--out", str(data / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_clips"], found["confusion_matrix"]) == (1, None)
    classifier, tables = Loud(), []
    for split, start in (("valid", 0), ("test", 20)):
        scores, events = {}, {"0": []}
        Scorer(classifier).run(
            [str(data / f"{split}.wav")], lambda i, x, _, scores=scores: scores.update({"0": x})
        )
        for line in (data / f"{split}.events.tsv").read_text().splitlines()[1:]:
            _, onset, offset, label = line.split("\t")
            events["0"].append((float(onset), float(offset), int(label[1:])))
        tables.append(Recordings(scores, events, {"0": 40.0}, 0.16, classifier.labels))
    point = tables[0].choose_thresholds()
    assert found["metrics"] == pytest.approx(tables[1].measure(point), nan_ok=True)
    assert found["metrics"]["event_f1"] > 0.7
    mean = np.mean([row["average_precision"] for row in found["classes"]])
    assert found["metrics"]["mAP"] == pytest.approx(mean)
    read = read_thresholds(str(data / "out/thresholds.json"), classifier)
    assert read.median_steps == point.median_steps
    assert read.thresholds.tolist() == point.thresholds.tolist()
    assert found["operating_point"]["tune_split"] == "valid"
    with open(data / "out/classes.csv") as file:
        assert [row["label"] for row in csv.DictReader(file)] == classifier.labels


def test_the_table(data, capsys):
    assert main(["evaluate", "some.pt", "--data", str(data), "--split", "test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["clips", "mAP", "event_f1", "segment_f1", "psds", "psds_macro"]
    assert [line.split()[0] for line in lines] == names


def test_classes_without_a_step_are_named(monkeypatch, capsys):
    scores, targets = np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0, 1], [0, 1]])
    classes = [Label(0, "a", "a"), Label(1, "b", "b")]
    evaluation = Evaluation(scores, targets, classes, num_clips=1, event_metrics={"mAP": 0.5})
    assert [row["num_positives"] for row in evaluation.rows()] == [0, 2]
    monkeypatch.setattr(eat.evaluation, "evaluate_checkpoint", lambda *_, **__: evaluation)
    assert main(["evaluate", "some.pt", "--data", "data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "1 of 2 classes have no step here and are left out of mAP: a"


def test_the_batch_size_is_that_of_windows(tmp_path, monkeypatch):
    for name in ("load_checkpoint", "build_classifier"):
        monkeypatch.setattr(f"eat.evaluation.classifier.{name}", lambda _: Loud())
    names = enumerate(Loud().labels)
    write_descriptors(tmp_path / "label_descriptors.csv", [Label(i, f"/{i}", n) for i, n in names])

    def stop(scorer, *_):
        raise ValueError(f"{scorer.pipeline.batch_size} windows")

    monkeypatch.setattr("eat.evaluation.classifier._score_recordings", stop)
    with pytest.raises(ValueError, match="3 windows"):
        evaluate_checkpoint("some.pt", tmp_path, batch_size=3)


def test_thresholds_of_other_classes_are_refused(tmp_path):
    classifier = Loud()
    (tmp_path / "t.json").write_text('{"thresholds": [["dog", 0.5]], "median_steps": 3}')
    with pytest.raises(ValueError, match="t.json: expected thresholds that eat wrote"):
        read_thresholds(tmp_path / "t.json", classifier)
    content = {"thresholds": [["dog", 0.5]], "median_steps": 3, "step_seconds": 0.16}
    (tmp_path / "t.json").write_text(json.dumps(content))
    expected = r"found 1 classes \(dog\) in steps of 0.16 s, expected those of the classifier: 2"
    with pytest.raises(ValueError, match=expected):
        read_thresholds(tmp_path / "t.json", classifier)


def test_a_class_that_is_never_found_is_named_and_stays_so_in_the_file(tmp_path):
    classifier = Loud()
    point = OperatingPoint(np.array([0.5, np.inf]), 1)
    described = describe_thresholds(point, classifier)
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(described, allow_nan=False))
    assert read_thresholds(path, classifier).thresholds.tolist() == [0.5, np.inf]
    scores, targets = np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0, 1], [1, 0]])
    classes = [Label(0, "a", "a"), Label(1, "b", "b")]
    evaluation = Evaluation(scores, targets, classes, thresholds=described)
    assert evaluation.never_found == [classifier.labels[1]]
