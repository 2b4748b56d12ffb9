"""What a classifier is worth on a labelled data set: scores of its clips, and metrics of them."""

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from eat.data.labels import Label
from eat.features import Pipeline, Result, TokenLayout
from eat.nn import Classifier
from eat.nn.classifier import ranking_scores

from .metrics import (
    accuracy,
    average_precisions,
    confusion_matrix,
    d_prime,
    mean_over_classes,
    roc_aucs,
)

DEFAULT_FRAMES = 1024  # of a classifier that was trained on clips of any length


class _Scorer:
    """A classifier as a network of the pipeline: its scores are one token of a window."""

    layout = TokenLayout(num_summary=1, tokens_per_row=0)

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) -> (B, 1, C) scores, on the CPU."""
        logits = self._classifier(source, lengths).float()
        return ranking_scores(logits, self._classifier.activation).unsqueeze(1).cpu()


def score_clips(
    classifier: Classifier, paths: Sequence[str], batch_size: int = 32, device: str = "cpu"
) -> Iterator[Result]:
    """Score clips as validation does: padded or cropped to the length of the training.

    Args:
        classifier: where `device` says.
        paths: the audio files.
        batch_size: clips in one pass.
        device: "cpu" or "cuda".

    Yields:
        For each clip, in the order in which they are finished, its scores (C,), or the error.
    """
    log_mel = classifier.log_mel
    if log_mel.target_length is None:
        log_mel = replace(log_mel, target_length=DEFAULT_FRAMES)
    pipeline = Pipeline(
        log_mel, window_seconds=None, batch_size=batch_size, device=torch.device(device)
    )
    return pipeline.run(paths, _Scorer(classifier))


@dataclass
class Evaluation:
    """Metrics of a data set.

    Attributes:
        descriptors: its classes.
        num_positives: (C,) clips of each class.
        average_precisions: (C,), NaN for classes without clips.
        roc_aucs: (C,), NaN for classes without clips and without others.
        confusion: (C, C) clips by class and predicted class, if each has one class; else None.
        metrics: `accuracy` and `mAP` if each clip has one class, else `mAP`, `auc` and `d_prime`.
    """

    descriptors: Sequence[Label]
    num_positives: np.ndarray
    average_precisions: np.ndarray
    roc_aucs: np.ndarray
    confusion: Optional[np.ndarray]
    metrics: Dict[str, float]

    @property
    def left_out(self) -> List[str]:
        """The names of the classes without clips, which mAP leaves out."""
        indices = mean_over_classes(self.average_precisions).left_out
        return [self.descriptors[index].name for index in indices]

    def rows(self) -> List[Dict[str, Any]]:
        """One row per class, for tables; None where a value is not defined."""
        columns = zip(
            self.descriptors,
            self.num_positives,
            self.average_precisions,
            self.roc_aucs,
            strict=True,
        )
        return [
            {
                "label": label.name,
                "id": label.id,
                "num_positives": int(num_positives),
                "average_precision": _number(precision),
                "auc": _number(auc),
            }
            for label, num_positives, precision, auc in columns
        ]


def evaluate_scores(
    scores: np.ndarray, targets: np.ndarray, descriptors: Sequence[Label]
) -> Evaluation:
    """Compute all metrics that fit the labels.

    Args:
        scores: (N, C), any numbers that grow with the probabilities.
        targets: (N, C), 1 at the classes of a clip.
        descriptors: the classes.

    Raises:
        ValueError: the shapes differ, there is no clip, or a score is not a number.
    """
    precisions, aucs = average_precisions(scores, targets), roc_aucs(scores, targets)
    metrics = {"mAP": mean_over_classes(precisions).value}
    confusion = None
    if (targets.sum(axis=1) == 1).all():
        metrics = {"accuracy": accuracy(scores, targets), **metrics}
        confusion = confusion_matrix(scores, targets)
    else:
        auc = mean_over_classes(aucs).value
        metrics.update(auc=auc, d_prime=d_prime(auc))
    return Evaluation(
        descriptors, targets.sum(axis=0).astype(int), precisions, aucs, confusion, metrics
    )


def _number(value: float) -> Optional[float]:
    return None if np.isnan(value) else float(value)
