"""Random numbers of the data pipeline: seeded by (seed, purpose, epoch, clips).

The number of workers, the order of the clips and where a run was resumed have no influence. Two
kinds of draws are fairseq's: the order of the clips (numpy, seeded by seed + epoch), and what the
networks draw (torch's generator, seeded by seed + number of updates at each update).
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What is drawn. A run that is resumed needs the same numbers: append, never renumber."""

    MASK = 0
    ROLL = 1
    NOISE = 2
    MIXUP = 3
    SPEC_AUGMENT = 4
    BALANCED_DRAW = 5
    CROP = 6
    REPLACEMENT = 7
    CORPUS_DRAW = 8


def generator_for(seed: int, purpose: Purpose, epoch: int, *clips: int) -> np.random.Generator:
    """The generator for one purpose in one epoch, of the given clips' numbers in the manifest."""
    return np.random.default_rng((seed, int(purpose), epoch, *clips))
