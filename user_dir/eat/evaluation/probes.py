"""Classifiers on frozen features, and how well they do."""

from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Sequence

import numpy as np

from .folds import Fold
from .metrics import accuracy, average_precisions, mean_over_classes
from .vectors import ClipVectors, Source

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


class Score(NamedTuple):
    """How well a probe does, in each fold."""

    source: Source
    method: str
    per_fold: List[float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.per_fold))

    @property
    def std(self) -> float:
        """Between folds; 0 for a single one."""
        return float(np.std(self.per_fold))


def metric_for(targets: np.ndarray) -> str:
    """The metric that fits labels (N, C): accuracy if every clip has one, else mAP."""
    return "accuracy" if (targets.sum(axis=1) == 1).all() else "mAP"


def score_vectors(
    vectors: ClipVectors, targets: np.ndarray, folds: Sequence[Fold], probes: Sequence[Probe]
) -> Iterator[Score]:
    """Yield the score of every probe on every kind of vector, by the metric for the labels.

    Args:
        vectors: of N clips.
        targets: (N, C), 1 at the classes of a clip, 0 elsewhere.
        folds: which clips to learn from and to test on.
        probes: what to fit anew in each fold.
    """
    metric = metric_for(targets)
    for source, values in vectors.values.items():
        for probe in probes:
            per_fold = []
            for train, test in folds:
                scores = probe.scores(values[train], targets[train], values[test])
                per_fold.append(_measure(metric, scores, targets[test]))
            yield Score(source, probe.method, per_fold)


def _measure(metric: str, scores: np.ndarray, targets: np.ndarray) -> float:
    if metric == "accuracy":
        return accuracy(scores, targets)
    return mean_over_classes(average_precisions(scores, targets)).value


def _classify_by_neighbours(
    probe: Probe, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray
) -> np.ndarray:
    """Share of the neighbours that have each class."""
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
    if metric_for(targets) == "accuracy" and len(learnt):
        scores[:, learnt] = regression.fit(vectors, targets.argmax(axis=1)).predict_proba(tested)
        return scores
    for index in learnt:
        scores[:, index] = regression.fit(vectors, targets[:, index]).predict_proba(tested)[:, 1]
    return scores
