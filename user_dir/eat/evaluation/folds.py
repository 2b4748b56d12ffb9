"""Which clips a probe learns from, and which it is tested on."""

import os
import re
import warnings
from typing import List, NamedTuple, Optional, Sequence

import numpy as np


class Fold(NamedTuple):
    """Indices of the clips to learn from, and of those to be tested on."""

    train: np.ndarray
    test: np.ndarray


def groups_from(source: str, paths: Sequence[str]) -> List[str]:
    """The group of each clip: what has to stay together, such as a speaker's clips.

    Args:
        source: "parent", the folder that a clip is in; or "regex:PATTERN", what the pattern's
            parentheses (or without any, all of it) match in the path, anywhere.
        paths: of the clips, below the root of their manifest.

    Raises:
        ValueError: another source, a bad pattern, or a path that it does not match.
    """
    if source == "parent":
        return [os.path.dirname(path) for path in paths]
    kind, _, text = source.partition(":")
    if kind != "regex" or not text:
        raise ValueError(f"groups: found {source!r}, expected parent or regex:PATTERN")
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"groups: found {text!r}, no regular expression: {error}") from error
    return [_match(pattern, path) for path in paths]


def _match(pattern: "re.Pattern[str]", path: str) -> str:
    match = pattern.search(path)
    if match is None:
        raise ValueError(f"groups: found no match of {pattern.pattern!r} in {path!r}, expected one")
    return "\t".join(part or "" for part in match.groups()) if pattern.groups else match[0]


def make_folds(
    targets: np.ndarray, groups: Optional[Sequence[str]], num_folds: int, seed: int
) -> List[Fold]:
    """Split clips for cross-validation; each is tested on once.

    Clips with one label each are stratified: every fold gets its share of every class, as far as
    the groups allow.

    Args:
        targets: (N, C), 1 at the classes of a clip, 0 elsewhere.
        groups: (N,) the group of each clip; those of a group are in one fold. None: each alone.
        num_folds: how many parts, 2 or more.
        seed: of the draw.

    Raises:
        ValueError: there are fewer clips, groups or clips of any class than folds.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    is_single_label = bool((targets.sum(axis=1) == 1).all())
    what, count = ("clips", len(targets)) if groups is None else ("groups", len(set(groups)))
    if is_single_label and targets.sum(axis=0).max() < count:
        what, count = "clips of the most frequent class", int(targets.sum(axis=0).max())
    if not 2 <= num_folds <= count:
        raise ValueError(f"folds: found {num_folds} for {count} {what}, expected 2 to {count}")
    shuffled = {"n_splits": num_folds, "shuffle": True, "random_state": seed}
    if is_single_label:
        splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(**shuffled)
    else:  # GroupKFold balances the folds by size, which leaves nothing to draw
        splitter = KFold(**shuffled) if groups is None else GroupKFold(num_folds)
    classes = targets.argmax(axis=1)
    with warnings.catch_warnings():
        # A class with fewer clips than folds is missing from some of them, which does no harm.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return [Fold(*fold) for fold in splitter.split(classes, classes, groups)]
