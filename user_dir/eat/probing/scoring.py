"""Classifiers on frozen features, and how well they do."""

from dataclasses import dataclass
from typing import Any, Sequence

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
            (M, C) in [0, 1]; 0 for the classes that are not seen in learning.
        """
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(vectors.astype(np.float64))
        fit = self._fit_neighbours if self.method == "knn" else self._fit_logistic
        return fit(scaler.transform(vectors), targets)(scaler.transform(tested))

    def _fit_neighbours(self, vectors: np.ndarray, targets: np.ndarray) -> Any:
        from sklearn.neighbors import KNeighborsRegressor

        num_neighbours = min(self.num_neighbours, len(vectors))
        return KNeighborsRegressor(num_neighbours, metric="cosine").fit(vectors, targets).predict

    def _fit_logistic(self, vectors: np.ndarray, targets: np.ndarray) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        logistic = LogisticRegression(C=self.regularisation, max_iter=_MAX_ITERATIONS)
        # Columns of classes that all clips have, or none, leave nothing to fit.
        scores = targets.all(axis=0).astype(np.float64)
        (fitted,) = np.nonzero(targets.any(axis=0) & ~targets.all(axis=0))
        if (targets.sum(axis=1) == 1).all():
            model = logistic.fit
