"""Which clips an epoch draws when rare classes are to come more often."""

import numpy as np

from .labels import LabelTable

_WEIGHT = 1000.0
_SMOOTHING = 0.01


def balancing_weights(labels: LabelTable) -> np.ndarray:
    """(N,) float64, for each clip the sum over its classes of 1000 / (clips of the class + 0.01).

    These are the weights of Audio-MAE's generator, which the released recipe reads from a file.
    """
    return labels.sum_per_clip(_WEIGHT / (labels.counts + _SMOOTHING))


def draw_weighted(
    weights: np.ndarray, num_samples: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw without replacement, one after the other, each in proportion to its weight.

    The smallest of independent exponential variables with these rates are such a draw (Efraimidis
    and Spirakis, 2006): one pass, however many there are.

    Args:
        weights: (N,) numbers above 0.
        num_samples: how many to draw.
        generator: source of all randomness.

    Returns:
        (num_samples,) int64 indices, in random order.

    Raises:
        ValueError: there are not so many.
    """
    if not 1 <= num_samples <= len(weights):
        raise ValueError(f"num_samples: found {num_samples}, expected 1 to {len(weights)}")
    keys = generator.exponential(size=len(weights)) / weights
    drawn = np.argpartition(keys, num_samples - 1)[:num_samples]
    return generator.permutation(drawn)
