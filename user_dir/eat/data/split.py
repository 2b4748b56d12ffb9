"""A split of a data set: its manifest, its labels and what the classes are called."""

import os
from typing import List, NamedTuple, Optional

from .labels import DESCRIPTORS_FILE, Label, LabelTable, read_descriptors, read_labels
from .manifest import Manifest


class Split(NamedTuple):
    """The clips of `{folder}/{name}.tsv`, and their labels.

    Attributes:
        manifest: the clips.
        descriptors: the classes of the data set; None without labels.
        labels: the classes of each clip; None without labels.
    """

    manifest: Manifest
    descriptors: Optional[List[Label]]
    labels: Optional[LabelTable]

    @property
    def paths(self) -> List[str]:
        """The absolute path, or address in a pack, of each clip."""
        return [self.manifest.path(clip) for clip in range(len(self.manifest))]


def open_split(folder: str, name: str, labelled: bool = True) -> Split:
    """Read a manifest and, as far as there are any, its labels.

    Args:
        folder: of the data set.
        name: of the split, e.g. "train".
        labelled: whether labels are needed; if not, a split without a `.lbl` file has none.

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
    """Folder and name of the split that a manifest file is of."""
    folder, file = os.path.split(manifest_file)
    return folder, os.path.splitext(file)[0]
