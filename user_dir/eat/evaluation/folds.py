"""Labelled clips for probes: which there are, which to learn from, and which to test on."""

import logging
import os
import re
import warnings
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from eat.data.annotations.table import Columns, annotate, read_table
from eat.data.split import open_split

from . import LABELLED_SPLITS, ProbeSettings
from .metrics import metric_for

logger = logging.getLogger(__name__)

_STOP_PARTS = 10  # of what is learnt from, one is held out


class Clips(NamedTuple):
    """Labelled clips of one or more splits."""

    root: str  # of the first split
    classes: List[str]
    paths: List[str]
    names: List[str]  # their paths below the root
    splits: np.ndarray  # (N,) names of the splits that they are of
    targets: np.ndarray  # (N, C) uint8, 1 at the classes of a clip

    @property
    def split_names(self) -> List[str]:
        return list(dict.fromkeys(self.splits.tolist()))

    def select(self, indices: np.ndarray) -> "Clips":
        """Some of the clips."""
        return self._replace(
            paths=[self.paths[index] for index in indices],
            names=[self.names[index] for index in indices],
            splits=self.splits[indices],
            targets=self.targets[indices],
        )


class Fold(NamedTuple):
    """Indices of the clips to learn from, and of those to be tested on."""

    train: np.ndarray
    test: np.ndarray


def read_clips(folder: str, splits: Optional[Sequence[str]] = None) -> Clips:
    """Read the labelled clips of some splits; None: of all usual ones that have labels."""
    splits = [*dict.fromkeys(splits or ())]  # a clip that is there twice would test itself
    if not splits:
        files = {name: f"{name}.lbl" for name in LABELLED_SPLITS}
        splits = [s for s, file in files.items() if os.path.exists(os.path.join(folder, file))]
        if not splits:
            raise FileNotFoundError(
                f"{folder}: found none of {', '.join(files.values())}, expected labels beside the"
                " manifests (`eat manifest folder DIR --labels-from parent` takes them from the"
                " names of folders; there are more ways)"
            )
    opened = [open_split(folder, name) for name in splits]
    tables = [one.labels for one in opened]
    rows = [table.targets(i).astype(np.uint8) for table in tables for i in range(len(table))]
    return Clips(
        root=opened[0].manifest.root,
        classes=[label.name for label in opened[0].descriptors],
        paths=[path for split in opened for path in split.paths],
        names=[name for split in opened for name in split.manifest.relative_paths()],
        splits=np.repeat(splits, [len(split.manifest) for split in opened]),
        targets=np.stack(rows),
    )


def find_groups(source: Optional[str], clips: Clips) -> Optional[List[str]]:
    """The group of each clip: what has to stay together, such as a speaker's clips.

    `source` is None: there are no groups; "parent", the folder that a clip is in; "regex:PATTERN",
    what the pattern's parentheses (or without any, all of it) match in the path below the root,
    anywhere; or "csv:FILE", the column `group` of a table. Anything else, and a clip without
    exactly one group, is a ValueError.
    """
    if source is None:
        return None
    kind, _, text = source.partition(":")
    if source == "parent":
        return [os.path.dirname(name) for name in clips.names]
    if kind == "csv":
        rows = read_table(text, Columns(label="group", separator=""))
        table = annotate(rows, clips.root, clips.names)
        for note in (*table.notes, *table.warnings):
            logger.warning("%s: %s", text, note)
        groups = table.labels
        for name in clips.names:
            found = sorted(set(groups.get(name, [])))
            if len(found) != 1:
                what = found or "no group"
                raise ValueError(f"{text}: found {what} of {name!r}, expected one group")
        return [groups[name][0] for name in clips.names]
    if kind != "regex" or not text:
        raise ValueError(f"groups: found {source!r}, expected parent, regex:PATTERN or csv:FILE")
    try:
        matches = [re.search(text, name) for name in clips.names]
    except re.error as error:
        raise ValueError(f"groups: found {text!r}, no regular expression: {error}") from error
    if None in matches:
        name = clips.names[matches.index(None)]
        raise ValueError(f"groups: found no match of {text!r} in {name!r}, expected one")
    return ["\t".join(match.groups("")) if match.re.groups else match[0] for match in matches]


def make_folds(
    targets: np.ndarray, groups: Optional[Sequence[str]], num_folds: int, seed: int
) -> List[Fold]:
    """Split clips with `targets` (N, C) for cross-validation; each is tested on once.

    The clips of a group are in one fold; without `groups` (N,) each clip is its own. Clips with one
    label each are stratified: every fold gets its share of every class, as far as the groups allow.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    is_single_label = metric_for(targets) == "accuracy"
    what, count = count_parts(targets, groups)
    if count < 2:
        raise ValueError(f"found {count} {what}, expected 2 or more, and --folds at most as many")
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


def count_parts(targets: np.ndarray, groups: Optional[Sequence[str]]) -> Tuple[str, int]:
    """What limits the folds, and how many there can be."""
    what, count = ("clips", len(targets)) if groups is None else ("groups", len(set(groups)))
    if metric_for(targets) == "accuracy" and targets.sum(axis=0).max() < count:
        return "clips of the most frequent class", int(targets.sum(axis=0).max())
    return what, count


def hold_out(fold: Fold, targets: np.ndarray, groups: Optional[Sequence[str]], seed: int) -> Fold:
    """Split what a fold learns from: a tenth, in groups of their own, tells when to stop."""
    targets = targets[fold.train]
    groups = None if groups is None else [groups[index] for index in fold.train]
    what, count = count_parts(targets, groups)
    if count < 2:
        raise ValueError(
            f"methods: found {count} {what} to learn from in a fold, expected 2 or more for"
            " attentive and gated, which need some of them to know when to stop"
        )
    train, stop = make_folds(targets, groups, min(_STOP_PARTS, count), seed)[0]
    return Fold(fold.train[train], fold.train[stop])


def choose_folds(clips: Clips, settings: ProbeSettings) -> List[Fold]:
    """One fold that learns from all splits but `test` and tests on that, or a cross-validation."""
    groups = find_groups(settings.groups_from, clips)
    if settings.test is None:
        return make_folds(clips.targets, groups, settings.folds, settings.seed)
    is_tested = clips.splits == settings.test
    if is_tested.all() or not is_tested.any():
        raise ValueError(
            f"--test: found the splits {', '.join(clips.split_names)}, expected {settings.test} and"
            " another to learn from"
        )
    fold = Fold(np.flatnonzero(~is_tested), np.flatnonzero(is_tested))
    if groups is not None:
        shared = {groups[clip] for clip in fold.train} & {groups[clip] for clip in fold.test}
        if shared:
            raise ValueError(
                f"groups: found {min(shared)!r} in {settings.test} and in what is learnt from,"
                " expected groups that are in one of them"
            )
    return [fold]
