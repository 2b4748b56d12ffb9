"""A split of a data set: its clips, their labels and the classes of the data set."""

import os
from typing import List, NamedTuple, Optional, Tuple

from .labels import DESCRIPTORS_FILE, Label, LabelTable, read_descriptors, read_labels
from .manifest import Manifest


class Split(NamedTuple):
    """The clips of `{folder}/{name}.tsv`, with their labels if there are any."""

    manifest: Manifest
    descriptors: Optional[List[Label]]  # the classes of the data set; None without labels
    labels: Optional[LabelTable]  # the classes of each clip; None without labels

    @property
    def paths(self) -> List[str]:
        """The absolute path, or address in a pack, of each clip."""
        return [self.manifest.path(clip) for clip in range(len(self.manifest))]

    def class_ids(self, clip: int) -> Tuple[str, ...]:
        """The ids of a clip's classes; none without labels."""
        if self.labels is None or self.descriptors is None:
            return ()
        return tuple(self.descriptors[index].id for index in self.labels.classes(clip))


def open_split(folder: str, name: str, labelled: bool = True) -> Split:
    """Read a manifest and its labels.

    Args:
        folder: the folder of the data set.
        name: the name of the split, e.g. "train".
        labelled: whether labels are required; if not, a split may have no `.lbl` file.

    Raises:
        FileNotFoundError: a file is missing.
        ManifestError, LabelError: a bad line.
    """
    manifest = Manifest(os.path.join(folder, f"{name}.tsv"))
    path = os.path.join(folder, f"{name}.lbl")
    if not labelled and not os.path.exists(path):
        return Split(manifest, None, None)
    descriptors_file = os.path.join(folder, DESCRIPTORS_FILE)
    descriptors = read_descriptors(descriptors_file)
    return Split(manifest, descriptors, read_labels(path, manifest, descriptors, descriptors_file))


def split_of(manifest_file: str) -> "tuple[str, str]":
    """Folder and name of the split that a manifest file lists."""
    folder, file = os.path.split(manifest_file)
    return folder, os.path.splitext(file)[0]
