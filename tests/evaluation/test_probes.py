import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eat.evaluation import ClipVectors, Fold, Probe, Source, make_folds, score_vectors
from eat.evaluation.metrics import metric_for

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


def score(vectors, targets, folds, probe):
    clips = ClipVectors(np.arange(len(vectors)), {SOURCE: vectors}, [])
    (result,) = score_vectors(clips, targets, folds, [probe])
    found = result["layer"], result["pooling"], result["method"]
    assert found == (*SOURCE, probe.method)
    return result


@pytest.mark.parametrize(
    ("probe", "model"),
    [
        (Probe("logistic", regularisation=0.3), LogisticRegression(C=0.3, max_iter=1000)),
        (Probe("knn", num_neighbours=1), KNeighborsClassifier(1, metric="cosine")),
        (Probe("knn", num_neighbours=7), KNeighborsClassifier(7, metric="cosine")),
    ],
)
def test_accuracies_are_those_of_scikit_learn(data, probe, model):
    vectors, classes = data
    folds = make_folds(one_hot(classes), None, 4, seed=1)
    model = make_pipeline(StandardScaler(), model)
    expected = cross_val_score(model, vectors.astype(np.float64), classes, cv=folds)
    result = score(vectors, one_hot(classes), folds, probe)
    assert result["per_fold"] == pytest.approx(expected.tolist())
    assert result["mean"] == pytest.approx(expected.mean())
    assert result["std"] == pytest.approx(expected.std())


@pytest.mark.parametrize("method", ["logistic", "knn"])
def test_several_labels_are_scored_by_map(data, method):
    vectors, classes = data
    targets = one_hot(classes)
    targets[:, 0] = vectors[:, 1] > np.median(vectors[:, 1])  # now some have none, some two
    assert metric_for(targets) == "mAP" and metric_for(one_hot(classes)) == "accuracy"
    probe, fold = Probe(method), Fold(np.arange(80), np.arange(80, 120))
    scores = probe.scores(vectors[:80], targets[:80], vectors[80:])
    assert scores.min() >= 0 and scores.max() <= 1
    expected = average_precision_score(targets[80:], scores, average="macro")
    assert score(vectors, targets, [fold], probe)["per_fold"] == [pytest.approx(expected)]
    assert expected > targets[80:].mean() + 0.2


def test_the_regressions_of_several_labels_are_those_of_scikit_learn(data):
    vectors, classes = data
    targets = one_hot(classes)
    targets[::2, 0] = 1
    scores = Probe().scores(vectors[:80], targets[:80], vectors[80:])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    for index in range(3):
        model.fit(vectors[:80].astype(np.float64), targets[:80, index])
        expected = model.predict_proba(vectors[80:].astype(np.float64))[:, 1]
        np.testing.assert_allclose(scores[:, index], expected, atol=1e-6)


@pytest.mark.parametrize("method", ["logistic", "knn"])
@pytest.mark.parametrize("extra", [0, 1])
def test_a_class_that_is_not_learnt_from_gets_nothing(data, method, extra):
    vectors, classes = data
    targets = np.pad(one_hot(classes), ((0, 0), (1, 1)))  # no clip has the first and last
    targets[:, -1] = extra  # or all have the last
    scores = Probe(method).scores(vectors[:80], targets[:80], vectors[80:])
    assert (scores[:, 0] == 0).all() and (scores[:, -1] == extra).all()
    assert scores[:, 1:-1].sum(axis=1) == pytest.approx(1, abs=1e-6 if extra == 0 else 1)


@pytest.mark.parametrize("method", ["logistic", "knn"])
def test_one_class_is_nothing_to_learn(data, method):
    vectors, _ = data
    targets = np.ones((120, 1), dtype=np.uint8)
    assert (Probe(method).scores(vectors[:80], targets[:80], vectors[80:]) == 1).all()


def test_more_neighbours_than_clips_are_all_of_them(data):
    vectors, classes = data
    targets = one_hot(classes)
    scores = Probe("knn", num_neighbours=500).scores(vectors[:80], targets[:80], vectors[80:])
    np.testing.assert_allclose(scores, np.tile(targets[:80].mean(axis=0), (40, 1)))


def test_an_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="method: found 'svm', expected one of"):
        Probe("svm")
