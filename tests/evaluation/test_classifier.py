import json
import sys

import numpy as np
import pytest
import torch
from helpers import write_clips

import eat
from eat.data.labels import Label
from eat.evaluation.classifier import Evaluation
from eat.evaluation.metrics import accuracy, average_precisions, d_prime, roc_aucs
from eat.evaluation.tagging import score_clips

CLASSES = [Label(index, f"/{index}", f"class {index}") for index in range(4)]


@pytest.fixture
def scores():
    return np.random.default_rng(0).standard_normal((20, 4))


def test_clips_with_one_label(scores):
    targets = np.eye(4)[np.random.default_rng(1).integers(0, 3, 20)]  # none of class 3
    evaluation = Evaluation(scores=scores, targets=targets, descriptors=CLASSES)
    precisions = average_precisions(scores, targets)
    assert evaluation.metrics == {
        "accuracy": accuracy(scores, targets),
        "mAP": pytest.approx(precisions[:3].mean()),
    }
    assert evaluation.confusion.sum(axis=1).tolist() == targets.sum(axis=0).tolist()
    assert evaluation.left_out == ["class 3"]
    assert evaluation.rows()[3] == {
        "label": "class 3",
        "id": "/3",
        "num_positives": 0,
        "average_precision": None,
        "auc": None,
    }
    assert evaluation.rows()[0]["average_precision"] == precisions[0]


def test_clips_with_any_number_of_labels(scores):
    targets = (np.random.default_rng(1).random((20, 4)) < 0.4).astype(np.float32)
    evaluation = Evaluation(scores=scores, targets=targets, descriptors=CLASSES)
    auc = roc_aucs(scores, targets).mean()
    assert evaluation.metrics == {
        "mAP": pytest.approx(average_precisions(scores, targets).mean()),
        "auc": pytest.approx(auc),
        "d_prime": pytest.approx(d_prime(auc)),
    }
    assert evaluation.confusion is None
    counts = [row["num_positives"] for row in evaluation.rows()]
    assert counts == targets.sum(axis=0).tolist()


def test_metrics_json_has_no_numbers_that_json_lacks():
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 0]])
    evaluation = Evaluation(scores=targets, targets=targets, descriptors=CLASSES[:2])
    assert evaluation.metrics == {"mAP": 1.0, "auc": 1.0, "d_prime": np.inf}
    report = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    assert report["metrics"] == {"mAP": 1.0, "auc": 1.0, "d_prime": None}


def test_tables_are_written_where_figures_cannot_be_drawn(tmp_path, monkeypatch, scores):
    targets = np.eye(4)[np.arange(20) % 4]
    monkeypatch.setitem(sys.modules, "eat.figures", None)
    with pytest.raises(ModuleNotFoundError):
        Evaluation(scores=scores, targets=targets, descriptors=CLASSES).write(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"metrics.json", "classes.csv", "confusion.csv"}


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_scores_are_the_classifier_s_at_the_length_of_its_training(
    official_finetune, tmp_path, activation
):
    names = [name for name, _ in write_clips(tmp_path, 5)]  # some shorter, some longer
    classifier = eat.load_classifier(official_finetune)
    classifier.activation = activation
    paths = [str(tmp_path / name) for name in names]
    found, failures = score_clips(classifier, paths, 2)
    assert failures == []
    for index, path in enumerate(paths):
        with torch.no_grad():
            waveform = torch.from_numpy(eat.read_audio(path))
            logits = classifier(classifier.log_mel(waveform))[0]
        expected = logits.log_softmax(dim=0) if activation == "softmax" else logits
        assert torch.allclose(found[index], expected, atol=1e-5)
