import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from eat.evaluation.metrics import (
    accuracy,
    average_precisions,
    confusion_matrix,
    d_prime,
    mean_over_classes,
    roc_aucs,
)


@pytest.fixture
def random():
    """Scores of 60 clips and 7 classes with many ties, and targets without class 2."""
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, size=(60, 7)) / 5
    targets = (generator.random((60, 7)) < 0.2).astype(np.float32)
    targets[:, 2] = 0
    targets[:, 5] = 1
    return scores, targets


def test_by_hand():
    """Ranked, the positives are 1st and 3rd: precision 1 at recall 1/2 and 2/3 at recall 1."""
    scores = np.array([[0.9], [0.8], [0.7], [0.1]])
    targets = np.array([[1], [0], [1], [0]])
    assert average_precisions(scores, targets)[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # Of the four pairs of a positive and a negative, three are in order.
    assert roc_aucs(scores, targets)[0] == pytest.approx(3 / 4)


def test_scikit_learn_says_the_same(random):
    scores, targets = random
    present = [0, 1, 3, 4, 5, 6]
    precisions = average_precisions(scores, targets)
    expected = sklearn_metrics.average_precision_score(
        targets[:, present], scores[:, present], average=None
    )
    assert precisions[present] == pytest.approx(expected)
    assert np.isnan(precisions[2])
    with_both = [0, 1, 3, 4, 6]  # every clip has class 5
    aucs = roc_aucs(scores, targets)
    expected = sklearn_metrics.roc_auc_score(
        targets[:, with_both], scores[:, with_both], average=None
    )
    assert aucs[with_both] == pytest.approx(expected)
    assert np.isnan(aucs[[2, 5]]).all()


def test_ties_do_not_depend_on_the_order_of_the_clips(random):
    scores, targets = random
    order = np.random.default_rng(1).permutation(len(scores))
    for metric in (average_precisions, roc_aucs):
        found, expected = metric(scores[order], targets[order]), metric(scores, targets)
        assert np.array_equal(found, expected, equal_nan=True)


def test_absent_classes_are_left_out_of_the_mean(random):
    precisions = average_precisions(*random)
    assert np.flatnonzero(np.isnan(precisions)).tolist() == [2]
    assert mean_over_classes(precisions) == pytest.approx(np.delete(precisions, 2).mean())
    assert math.isnan(mean_over_classes(np.array([np.nan])))


def test_single_labels():
    scores = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3]])
    targets = np.eye(3)[np.array([1, 0, 2, 0])]
    assert accuracy(scores, targets) == 3 / 4
    assert confusion_matrix(scores, targets).tolist() == [[2, 0, 0], [0, 1, 0], [0, 1, 0]]
    targets[1, 1] = 1
    with pytest.raises(ValueError, match="found 2 labels of clip 1, expected exactly one"):
        accuracy(scores, targets)


@pytest.mark.parametrize("auc, expected", [(0.5, 0.0), (0.9, 1.8124), (1.0, math.inf)])
def test_d_prime(auc, expected):
    assert d_prime(auc) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("metric", [average_precisions, roc_aucs, accuracy, confusion_matrix])
def test_impossible_scores(metric):
    targets = np.eye(3)
    with pytest.raises(ValueError, match=r"found shapes \(3, 2\) and \(3, 3\)"):
        metric(np.zeros((3, 2)), targets)
    with pytest.raises(ValueError, match=r"found shapes \(0, 3\)"):
        metric(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="found NaN for 1 of 3 clips.*diverged"):
        metric(np.where(targets * [1, 0, 0], np.nan, 0.0), targets)
