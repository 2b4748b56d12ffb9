import threading

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from eat.evaluation import (
    METHODS,
    ClipVectors,
    Fold,
    ProbeSettings,
    Source,
    make_folds,
    probes,
    score_vectors,
)
from eat.evaluation.metrics import metric_for
from eat.evaluation.probes import classify

SOURCE = Source(6, "cls")


@pytest.fixture(scope="module")
def data():
    """(120, 5) vectors of very unequal scale, (120,) classes that they tell in part."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 3, 120)
    centres = generator.standard_normal((3, 5))
    vectors = centres[classes] + generator.standard_normal((120, 5))
    return (vectors * [1, 10, 100, 0.1, 1] + 5).astype(np.float32), classes


def one_hot(classes):
    return np.eye(max(classes) + 1, dtype=np.uint8)[classes]


def score(vectors, targets, folds, method, **settings):
    clips = ClipVectors(np.arange(len(vectors)), {SOURCE: vectors}, [])
    settings = ProbeSettings(methods=[method], **settings)
    (result,) = score_vectors(clips, targets, folds, settings)
    assert (result["layer"], result["pooling"], result["method"]) == (*SOURCE, method)
    return result


def classify_last(vectors, targets, method, **settings):
    """The scores of the last 40 clips after learning from the first 80."""
    settings = ProbeSettings(**settings)
    return classify(vectors[:80], targets[:80], vectors[80:], method, settings)


@pytest.mark.parametrize(
    ("method", "settings", "model"),
    [
        ("logistic", {"regularisation": 0.3}, LogisticRegression(C=0.3, max_iter=1000)),
        ("knn", {"neighbours": 1}, KNeighborsClassifier(1, metric="cosine")),
        ("knn", {"neighbours": 7}, KNeighborsClassifier(7, metric="cosine")),
    ],
)
def test_accuracies_are_those_of_scikit_learn(data, method, settings, model):
    vectors, classes = data
    folds = make_folds(one_hot(classes), None, 4, seed=1)
    model = make_pipeline(StandardScaler(), model)
    expected = cross_val_score(model, vectors.astype(np.float64), classes, cv=folds)
    result = score(vectors, one_hot(classes), folds, method, **settings)
    assert result["per_fold"] == pytest.approx(expected.tolist())
    assert result["mean"] == pytest.approx(expected.mean())
    assert result["std"] == pytest.approx(expected.std())


@pytest.mark.parametrize("method", METHODS)
def test_several_labels_are_scored_by_map(data, method):
    vectors, classes = data
    targets = one_hot(classes)
    targets[:, 0] = vectors[:, 1] > np.median(vectors[:, 1])  # now some have none, some two
    assert metric_for(targets) == "mAP" and metric_for(one_hot(classes)) == "accuracy"
    scores = classify_last(vectors, targets, method)
    assert scores.min() >= 0 and scores.max() <= 1
    expected = average_precision_score(targets[80:], scores, average="macro")
    folds = [Fold(np.arange(80), np.arange(80, 120))]
    assert score(vectors, targets, folds, method)["per_fold"] == [pytest.approx(expected)]
    assert expected > targets[80:].mean() + 0.2


def test_the_regressions_of_several_labels_are_those_of_scikit_learn(data):
    vectors, classes = data
    targets = one_hot(classes)
    targets[::2, 0] = 1
    scores = classify_last(vectors, targets, "logistic")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-3))
    for index in range(3):
        model.fit(vectors[:80].astype(np.float64), targets[:80, index])
        expected = model.predict_proba(vectors[80:].astype(np.float64))[:, 1]
        np.testing.assert_allclose(scores[:, index], expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("extra", [0, 1])
def test_a_class_that_is_not_learnt_from_gets_nothing(data, method, extra):
    vectors, classes = data
    targets = np.pad(one_hot(classes), ((0, 0), (1, 1)))  # no clip has the first and last
    targets[:, -1] = extra  # or all have the last
    scores = classify_last(vectors, targets, method)
    assert (scores[:, 0] == 0).all() and (scores[:, -1] == extra).all()
    assert scores[:, 1:-1].sum(axis=1) == pytest.approx(1, abs=1e-6 if extra == 0 else 1)
    only_one = np.ones((120, 1), dtype=np.uint8)
    assert (classify_last(vectors, only_one, method) == 1).all()  # nothing to learn


def test_more_neighbours_than_clips_are_all_of_them(data):
    vectors, classes = data
    targets = one_hot(classes)
    scores = classify_last(vectors, targets, "knn", neighbours=500)
    np.testing.assert_allclose(scores, np.tile(targets[:80].mean(axis=0), (40, 1)))


def test_an_unknown_method_is_an_error(data):
    with pytest.raises(ValueError, match="method: found 'svm', expected one of"):
        classify_last(data[0], one_hot(data[1]), "svm")


def test_folds_compute_at_once_with_a_thread_of_matrix_products_each(data, monkeypatch):
    """Several threads for small products took up to 20 times the CPU time."""
    vectors, classes = data
    barrier, threads = threading.Barrier(2), []

    def record(*arguments):
        barrier.wait(timeout=20)  # breaks if the folds come one after the other
        threads.extend(pool["num_threads"] for pool in _blas_pools())
        return classify(*arguments)

    def _blas_pools():
        return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]

    monkeypatch.setattr(probes, "classify", record)
    monkeypatch.setattr(probes.os, "cpu_count", lambda: 2)
    folds = make_folds(one_hot(classes), None, 2, seed=1)
    with threadpool_limits(2):
        score(vectors, one_hot(classes), folds, "logistic")
        assert {pool["num_threads"] for pool in _blas_pools()} == {2}
    assert set(threads) == {1}
