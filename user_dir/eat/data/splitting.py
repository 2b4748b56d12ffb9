"""Which clips of a data set are kept apart, for validation and evaluation."""

from typing import Sequence

import numpy as np


def draw_parts(num_clips: int, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Draw parts of a data set at random, of exact sizes.

    Args:
        num_clips: N.
        fractions: the share of each part; the rest is part 0. A share above 0 is a clip at
            least, as long as one is left for part 0.
        seed: of the draw.

    Returns:
        (N,) int64: the part of each clip, 0 for the rest and from 1 in the order of `fractions`.
    """
    parts = np.zeros(num_clips, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(num_clips)
    begin = 0
    for part, fraction in enumerate(fractions, start=1):
        if fraction > 0:
            size = min(max(1, round(fraction * num_clips)), max(0, num_clips - 1 - begin))
            parts[order[begin : begin + size]] = part
            begin += size
    return parts


def draw_stratified_parts(
    classes: Sequence[Sequence[int]], fractions: Sequence[float], seed: int
) -> np.ndarray:
    """Draw parts in which each class has about its share, however many classes a clip has.

    Clips are dealt out in random order, those with a rare class first, as in the iterative
    stratification of Sechidis et al. (2011). Each goes to the part where it brings down most the
    sum of (clips lacking)^2 / (clips to get) over its classes and over the clips of all classes.

    Args:
        classes: the classes of each of N clips, counted from 0; at least one.
        fractions, seed: see `draw_parts`.

    Returns:
        (N,) int64, see `draw_parts`; sizes are within a few clips of the shares.
    """
    num_clips = len(classes)
    counts = np.bincount(np.concatenate(classes))
    shares = np.array([1 - sum(fractions), *fractions])
    # The last row counts the clips of all classes. A part without a share gets no clip.
    to_get = np.outer(np.append(counts, num_clips), shares).clip(1e-9)
    lacking = to_get.copy()
    parts = np.zeros(num_clips, dtype=np.int64)
    order = _rarest_first(classes, counts, seed)
    for clip in order:
        rows = [*classes[clip], len(counts)]
        gains = ((2 * lacking[rows] - 1) / to_get[rows]).sum(axis=0)
        parts[clip] = gains.argmax()
        lacking[rows, parts[clip]] -= 1
    _fill_empty_parts(parts, order, shares)
    return parts


def _rarest_first(classes: Sequence[Sequence[int]], counts: np.ndarray, seed: int) -> np.ndarray:
    """(N,) order of the clips: by their rarest class, at random within it."""
    rarest = np.array([min(clip, key=lambda index: (counts[index], index)) for clip in classes])
    at_random = np.random.default_rng(seed).permutation(len(classes))
    return np.lexsort((at_random, rarest, counts[rarest]))


def _fill_empty_parts(parts: np.ndarray, order: np.ndarray, shares: np.ndarray) -> None:
    """Shares of less than a clip are one clip, of the most common class, part 0's first."""
    for part in np.flatnonzero(shares > 0):
        if not (parts == part).any():
            of_largest = order[parts[order] == np.bincount(parts).argmax()]
            if part == 0 or len(of_largest) > 1:
                parts[of_largest[-1]] = part
