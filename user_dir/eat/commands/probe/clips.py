"""Labelled clips to probe with: which there are, and which belong together."""

import os
from typing import TYPE_CHECKING, List, NamedTuple, Sequence

from eat.data.annotations.table import Columns, annotate, read_table
from eat.data.split import open_split

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "valid", "eval", "test")


class Clips(NamedTuple):
    """Labelled clips of one or more splits."""

    root: str  # of the first split
    paths: List[str]
    names: List[str]  # their paths below the root
    splits: "np.ndarray"  # (N,) names of the splits they are of
    targets: "np.ndarray"  # (N, C) uint8, 1 at the classes of a clip
    classes: List[str]

    def select(self, indices: "np.ndarray") -> "Clips":
        """Some of the clips."""
        return Clips(
            self.root,
            [self.paths[index] for index in indices],
            [self.names[index] for index in indices],
            self.splits[indices],
            self.targets[indices],
            self.classes,
        )


def find_splits(folder: str) -> List[str]:
    """The splits that have labels.

    Raises:
        FileNotFoundError: none has.
    """
    found = [name for name in SPLITS if os.path.exists(os.path.join(folder, f"{name}.lbl"))]
    if not found:
        raise FileNotFoundError(
            f"{folder}: found none of {', '.join(f'{name}.lbl' for name in SPLITS)}, expected"
            " labels beside the manifests (`eat manifest folder DIR --labels-from parent` takes"
            " them from the names of folders; there are more ways)"
        )
    return found


def read_clips(folder: str, splits: Sequence[str]) -> Clips:
    """The labelled clips of some splits.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a bad line.
    """
    import numpy as np

    paths: List[str] = []
    names: List[str] = []
    targets = []
    opened = [open_split(folder, name) for name in splits]
    for manifest, _, labels in opened:
        paths += [manifest.path(index) for index in range(len(manifest))]
        names += manifest.relative_paths()
        targets += [labels.targets(index).astype(np.uint8) for index in range(len(labels))]
    of_split = np.repeat(splits, [len(split.manifest) for split in opened])
    classes = [label.name for label in opened[0].descriptors]
    return Clips(opened[0].manifest.root, paths, names, of_split, np.stack(targets), classes)


def find_groups(source: str, clips: Clips) -> List[str]:
    """The group of each clip.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a bad source or table, or a clip without exactly one group.
    """
    from eat.evaluation import groups_from

    kind, _, file = source.partition(":")
    if kind != "csv":
        return groups_from(source, clips.names)
    rows = read_table(file, Columns(label="group", separator=""))
    groups = annotate(rows, clips.root, clips.names).labels
    for name in clips.names:
        found = sorted(set(groups.get(name, [])))
        if len(found) != 1:
            raise ValueError(f"{file}: found {found or 'no group'} of {name!r}, expected one group")
    return [groups[name][0] for name in clips.names]
