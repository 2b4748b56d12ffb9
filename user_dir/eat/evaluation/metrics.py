"""How well the scores of a classifier fit the labels: one definition for training and commands.

Scores (N, C) are any numbers that grow with the probability of a class; only their order matters.
Targets (N, C) are 1 at the classes of a clip, 0 elsewhere. All metrics raise a ValueError if the
shapes differ, there is no clip, or a score is not a number. They need scikit-learn, which comes
with the extra `[train]`.
"""

import importlib.util
from typing import Callable

import numpy as np

METRICS = ("mAP", "accuracy")


def require_scikit_learn() -> None:
    """Raise a ModuleNotFoundError that says what to install, before long work needs it."""
    if importlib.util.find_spec("sklearn") is None:
        raise ModuleNotFoundError(
            "found no scikit-learn, expected it for metrics: pip install scikit-learn, or this"
            " package with its extra [train]"
        )


def metric_for(targets: np.ndarray) -> str:
    """The metric that fits labels: accuracy if every clip has one, else mAP."""
    return "accuracy" if (targets.sum(axis=1) == 1).all() else "mAP"


def measure(metric: str, scores: np.ndarray, targets: np.ndarray) -> float:
    """The value of one of `METRICS`."""
    if metric == "accuracy":
        return accuracy(scores, targets)
    return mean_over_classes(average_precisions(scores, targets))


def mean_over_classes(per_class: np.ndarray) -> float:
    """Average (C,) values, leaving out those that are NaN; NaN if all are."""
    defined = per_class[~np.isnan(per_class)]
    return float(defined.mean()) if len(defined) else float("nan")


def average_precisions(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Average precision of each class, (C,) float64, NaN without positives; its mean is the mAP."""
    from sklearn.metrics import average_precision_score

    return _per_class(average_precision_score, scores, targets, targets.any(axis=0))


def roc_aucs(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class, (C,) float64, NaN without positives or negatives."""
    from sklearn.metrics import roc_auc_score

    has_both = targets.any(axis=0) & ~targets.all(axis=0)
    return _per_class(roc_auc_score, scores, targets, has_both)


def _per_class(
    metric: Callable[..., float], scores: np.ndarray, targets: np.ndarray, is_defined: np.ndarray
) -> np.ndarray:
    _check(scores, targets)
    values = np.full(scores.shape[1], np.nan)
    for index in np.flatnonzero(is_defined):
        values[index] = metric(targets[:, index], scores[:, index])
    return values


def d_prime(auc: float) -> float:
    """The distance, in standard deviations, of two normal distributions with this area."""
    from scipy.special import ndtri

    return float(np.sqrt(2) * ndtri(auc))


def accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of the clips whose highest score is that of their class; each must have exactly one."""
    return float((_single_classes(scores, targets) == scores.argmax(axis=1)).mean())


def confusion_matrix(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Clips by their one class (rows) and that of their highest score (columns), (C, C) int64."""
    from sklearn.metrics import confusion_matrix as count

    classes = _single_classes(scores, targets)
    return count(classes, scores.argmax(axis=1), labels=np.arange(scores.shape[1]))


def _single_classes(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N,) the one class of each clip."""
    _check(scores, targets)
    num_labels = (targets != 0).sum(axis=1)
    if (num_labels != 1).any():
        clip = int(np.argmax(num_labels != 1))
        raise ValueError(
            f"accuracy: found {num_labels[clip]} labels of clip {clip}, expected exactly one;"
            " mAP is the metric of clips with any number of labels"
        )
    return targets.argmax(axis=1)


def _check(scores: np.ndarray, targets: np.ndarray) -> None:
    if scores.ndim != 2 or scores.shape != targets.shape or 0 in scores.shape:
        raise ValueError(
            f"scores and targets: found shapes {scores.shape} and {targets.shape},"
            " expected the same (N, C), neither of them 0"
        )
    num_bad = int(np.isnan(scores).any(axis=1).sum())
    if num_bad:
        raise ValueError(
            f"scores: found NaN for {num_bad} of {len(scores)} clips, expected numbers;"
            " has the training diverged?"
        )
