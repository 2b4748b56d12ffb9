"""Classifiers on frozen features, and how well they do."""

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from eat.metrics import accuracy, average_precisions, mean_over_classes

from .folds import Fold

METHODS = ("logistic", "knn")
_MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Probe:
    """A classifier on standardised features.

    Attributes:
        method: "logistic" regression or "knn", the nearest neighbours by cosine.
        regularisation: C of the logistic regression; smaller is stronger.
        num_neighbours: k.

    Raises:
        ValueError: no such method.
    """

    method: str = "logistic"
    regularisation: float = 0.1
    num_neighbours: int = 10

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: found {self.method!r}, expected one of {METHODS}")

    def scores(self, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Learn from some clips and score others.

        Args:
            vectors: (N, d) of the clips to learn from.
            targets: (N, C), 1 at the classes of a clip, 0 elsewhere.
            tested: (M, d).

        Returns:
            (M, C) in [0, 1]; 0 for classes that no clip to learn from has.
        """
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(vectors.astype(np.float64))
        classify = _classify_by_neighbours if self.method == "knn" else _classify_by_regression
        return classify(self, scaler.transform(vectors), targets, scaler.transform(tested))


def score_folds(
    probe: Probe, vectors: np.ndarray, targets: np.ndarray, folds: Sequence[Fold], metric: str
) -> np.ndarray:
    """(folds,) the metric on the tested clips of each fold.

    Args:
        probe: what to fit anew in each fold.
        vectors: (N, d) of all clips.
        targets: (N, C), 1 at the classes of a clip, 0 elsewhere.
        folds: which clips to learn from and to test on.
        metric: one of `eat.metrics.METRICS`.

    Raises:
        ValueError: "accuracy" of clips without exactly one class.
    """
    values = []
    for train, test in folds:
        scores = probe.scores(vectors[train], targets[train], vectors[test])
        values.append(_measure(metric, scores, targets[test]))
    return np.array(values)


def _measure(metric: str, scores: np.ndarray, targets: np.ndarray) -> float:
    if metric == "accuracy":
        return accuracy(scores, targets)
    return mean_over_classes(average_precisions(scores, targets)).value


def _classify_by_neighbours(
    probe: Probe, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray
) -> np.ndarray:
    """Share of the neighbours that are of each class."""
    from sklearn.neighbors import KNeighborsRegressor

    num_neighbours = min(probe.num_neighbours, len(vectors))
    model = KNeighborsRegressor(num_neighbours, metric="cosine")
    return model.fit(vectors, targets).predict(tested).reshape(len(tested), -1)


def _classify_by_regression(
    probe: Probe, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray
) -> np.ndarray:
    """Probabilities: one regression over the classes, or one per class if clips have several."""
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=probe.regularisation, max_iter=_MAX_ITERATIONS)
    scores = np.zeros((len(tested), targets.shape[1]))
    shares = targets.mean(axis=0)
    scores[:, shares == 1] = 1  # nothing to tell apart, which a regression refuses
    (learnt,) = np.nonzero((shares > 0) & (shares < 1))
    if (targets.sum(axis=1) == 1).all() and len(learnt):
        scores[:, learnt] = regression.fit(vectors, targets.argmax(axis=1)).predict_proba(tested)
        return scores
    for index in learnt:
        scores[:, index] = regression.fit(vectors, targets[:, index]).predict_proba(tested)[:, 1]
    return scores
