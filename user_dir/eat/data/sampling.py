"""Random draws of clips: a few of many, an epoch's by weight, parts for validation."""

from typing import Sequence

import numpy as np

from .labels import LabelTable

_WEIGHT = 1000.0
_SMOOTHING = 0.01


def balancing_weights(labels: LabelTable) -> np.ndarray:
    """(N,) float64: for each clip the sum over its classes of 1000 / (clips of the class + 0.01).

    These are the weights of Audio-MAE's generator, which the released recipe reads from a file.
    Clips without a class, as there are of events, are as if of one more.
    """
    weights = labels.sum_per_clip(_WEIGHT / (labels.counts + _SMOOTHING))
    has_none = weights == 0
    weights[has_none] = _WEIGHT / (has_none.sum() + _SMOOTHING)
    return weights


def draw_weighted(
    weights: np.ndarray, num_samples: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw clips without replacement, one after the other, each in proportion to its weight.

    The smallest of independent exponential variables with these rates are such a draw (Efraimidis
    and Spirakis, 2006), which takes one pass. Weights (N,) above 0 -> (num_samples,) int64 indices,
    in random order.
    """
    if not 1 <= num_samples <= len(weights):
        raise ValueError(f"num_samples: found {num_samples}, expected 1 to {len(weights)}")
    keys = generator.exponential(size=len(weights)) / weights
    drawn = np.argpartition(keys, num_samples - 1)[:num_samples]
    return generator.permutation(drawn)


def draw_shares(
    bounds: Sequence[int],
    shares: Sequence[float],
    num_samples: int,
    weights: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw the clips of an epoch so that each corpus has its share, to within one clip.

    Corpus c has the clips `bounds[c]` to `bounds[c + 1]`. All of it is taken as often as it fits
    into its share; the rest of the share is drawn with `weights`, see `draw_weighted`. So no clip
    comes a second time unless all of its corpus come once.

    Weights (N,) -> (num_samples,) int64 in random order; when index i comes again it is i + N, then
    i + 2 N, and so on.
    """
    ends = np.rint(num_samples * np.cumsum(shares) / np.cumsum(shares)[-1]).astype(np.int64)
    drawn = []
    for begin, end, count in zip(bounds, bounds[1:], np.diff(ends, prepend=0), strict=False):
        passes, rest = divmod(int(count), end - begin)
        drawn += [np.arange(begin, end) + p * len(weights) for p in range(passes)]
        if rest:
            last = begin + draw_weighted(weights[begin:end], rest, generator)
            drawn.append(last + passes * len(weights))
    return generator.permutation(np.concatenate(drawn))


def draw_clips(num_clips: int, max_clips: int, seed: int) -> np.ndarray:
    """Draw at most `max_clips` clips (0: all); returns their indices in ascending order."""
    if max_clips == 0 or max_clips >= num_clips:
        return np.arange(num_clips)
    return np.sort(np.random.default_rng(seed).choice(num_clips, max_clips, replace=False))


def draw_parts(num_clips: int, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Draw parts of a data set at random, of exact sizes; returns the part of each clip (N,) int64.

    `fractions` are the shares of the parts from 1 on; the rest is part 0. A share above 0 gets at
    least one clip, as long as one is left for part 0.
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
    """Draw parts in which each class has about its share; a clip may have several classes.

    This is iterative stratification (Sechidis et al., 2011): clips are dealt out in random order,
    rare classes first. Each clip goes to the part where it reduces most the sum of
    (clips lacking)^2 / (clips to get), over its classes and over the clips of all classes.

    Takes the classes of each of N clips, at least one per clip; for `fractions` and what is
    returned see `draw_parts`. The sizes are within a few clips of the shares.
    """
    num_clips = len(classes)
    counts = np.bincount(np.concatenate(classes))
    shares = np.array([1 - sum(fractions), *fractions])
    # The last row counts the clips of all classes. A part without a share gets no clip.
    to_get = np.outer(np.append(counts, num_clips), shares).clip(1e-9)
    lacking = to_get.copy()
    parts = np.zeros(num_clips, dtype=np.int64)
    # By their rarest class, at random within a class.
    rarest = np.array([min(clip, key=lambda index: (counts[index], index)) for clip in classes])
    order = np.lexsort((np.random.default_rng(seed).permutation(num_clips), rarest, counts[rarest]))
    for clip in order:
        rows = [*classes[clip], len(counts)]
        gains = ((2 * lacking[rows] - 1) / to_get[rows]).sum(axis=0)
        parts[clip] = gains.argmax()
        lacking[rows, parts[clip]] -= 1
    for part in np.flatnonzero(shares > 0):  # none with a share stays empty, part 0 least of all
        if not (parts == part).any():
            of_largest = order[parts[order] == np.bincount(parts).argmax()]
            if part == 0 or len(of_largest) > 1:
                parts[of_largest[-1]] = part
    return parts
