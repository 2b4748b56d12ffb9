"""The scores of a whole validation set, collected over batches and workers."""

from typing import Dict, Tuple

import numpy as np
import torch.distributed as dist
from fairseq.logging.meters import Meter

from eat.evaluation.metrics import accuracy, average_precisions, mean_over_classes

Batch = Tuple[np.ndarray, np.ndarray, np.ndarray]


class Predictions(Meter):
    """Scores and targets by clip, and a metric of them; a clip that comes twice counts once.

    fairseq fills up the batches of workers that have fewer than others with batches they had.

    Args:
        metric: one of `eat.metrics.METRICS`.
    """

    def __init__(self, metric: str) -> None:
        super().__init__()
        self._metric = metric
        self._rows: Dict[int, Tuple[np.ndarray, np.ndarray]] = {}

    def reset(self) -> None:
        """Forget all clips."""
        self._rows.clear()

    def update(self, clips: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> None:
        """Add a batch: (B,) numbers of the clips, (B, C) scores and (B, C) targets."""
        self._rows.update(zip(clips.tolist(), zip(scores, targets, strict=True), strict=True))

    @property
    def smoothed_value(self) -> float:
        """The metric of all clips, in the order of their numbers."""
        rows = [self._rows[clip] for clip in sorted(self._rows)]
        scores, targets = (np.stack(part) for part in zip(*rows, strict=True))
        if self._metric == "accuracy":
            return accuracy(scores, targets)
        return mean_over_classes(average_precisions(scores, targets)).value


def gather_from_workers(batch: Batch) -> Batch:
    """Join the batches of all distributed workers, which all must call this."""
    if not dist.is_initialized():
        return batch
    batches = [batch] * dist.get_world_size()
    dist.all_gather_object(batches, batch)
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
