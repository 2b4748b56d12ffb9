"""Labels: which classes the clips of a manifest belong to.

`{split}.lbl` stands beside the manifest `{split}.tsv` and has a line for each clip, in its order:

    speech/interview 1.wav<TAB>/m/09x0r,/m/05zppz
    hello.flac<TAB>/m/09x0r

The last tab of a line separates the two; without a tab the last space does, which the reference
code allows. The clip is written as in the manifest, with or without its folders and its extension.
A label is the id of a class, or its name if no other class has that id or name.

This module and `descriptors` alone know the formats; what others need of either is here.
"""

import os
import sys
from array import array
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from eat.files import replace_file

from .descriptors import (
    DESCRIPTORS_FILE,
    Label,
    LabelError,
    LabelPath,
    describe_difference,
    index_labels,
    label_problem,
    make_descriptors,
    quote,
    read_descriptors,
    read_lines,
    refuse,
    write_descriptors,
)
from .manifest import Manifest

__all__ = [
    "DESCRIPTORS_FILE",
    "Label",
    "LabelError",
    "LabelTable",
    "clip_spellings",
    "describe_difference",
    "index_labels",
    "make_descriptors",
    "read_descriptors",
    "read_labels",
    "write_descriptors",
    "write_labels",
]


class LabelTable:
    """The classes of each clip, as two arrays that forked workers share.

    Args:
        offsets: (N+1,) int64; the classes of clip i are `indices[offsets[i] : offsets[i + 1]]`.
        indices: (labels,) int32, each in [0, C).
        num_classes: C.

    Attributes:
        num_classes: C.
    """

    def __init__(self, offsets: np.ndarray, indices: np.ndarray, num_classes: int) -> None:
        self.num_classes = num_classes
        self._offsets = offsets
        self._indices = indices
        self._offsets.flags.writeable = False
        self._indices.flags.writeable = False

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def classes(self, clip: int) -> np.ndarray:
        """(n,) int32, the classes of a clip, each once, in the order of its line."""
        if not 0 <= clip < len(self):
            raise IndexError(f"labels of clip {clip} of {len(self)}")
        return self._indices[self._offsets[clip] : self._offsets[clip + 1]]

    def targets(self, clip: int) -> np.ndarray:
        """(C,) float32: 1 at the classes of a clip, 0 elsewhere."""
        targets = np.zeros(self.num_classes, dtype=np.float32)
        targets[self.classes(clip)] = 1
        return targets

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64, the number of clips of each class."""
        return np.bincount(self._indices, minlength=self.num_classes)

    def sum_per_clip(self, values: np.ndarray) -> np.ndarray:
        """(N,) float64: the sum of `values` (C,) over the classes of each clip."""
        clips = np.repeat(np.arange(len(self)), np.diff(self._offsets))
        return np.bincount(clips, weights=values[self._indices], minlength=len(self))

    @property
    def is_single_label(self) -> bool:
        """Whether every clip has exactly one class."""
        return bool((np.diff(self._offsets) == 1).all())


def read_labels(
    path: LabelPath,
    manifest: Manifest,
    descriptors: Sequence[Label],
    descriptors_file: LabelPath = DESCRIPTORS_FILE,
) -> LabelTable:
    """Read the labels of a manifest's clips.

    Args:
        path: the label file, which has a line for each clip of the manifest, in its order.
        manifest: the clips.
        descriptors: the classes.
        descriptors_file: where those were read from, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: a line that is not in the format or is another clip's, a label that is no
            class, too few or too many lines; naming the line, what was found and expected.
    """
    path = os.fspath(path)
    classes_of = _ClassesOfField(descriptors, os.fspath(descriptors_file))
    offsets, indices = array("q", [0]), array("i")
    lines = read_lines(path, "labels", sys.getfilesystemencoding())
    try:
        for expected, line in zip(manifest.relative_paths(), lines, strict=False):
            name, field = _split_line(line)
            if name != expected and name not in clip_spellings(expected):
                raise LabelError(_clip_problem(line, name, manifest, len(offsets) - 1))
            indices.extend(classes_of[field])
            offsets.append(len(indices))
        _check_end(len(offsets) - 1, manifest, next(lines, None))
    except LabelError as error:
        raise LabelError(f"{path}:{len(offsets)}: {error}") from None
    return LabelTable(np.array(offsets), np.array(indices), len(descriptors))


def write_labels(path: LabelPath, entries: Iterable[Tuple[str, Sequence[str]]]) -> int:
    """Write the labels of clips; an existing file is replaced at the end.

    Args:
        path: the file to write.
        entries: for each clip its path as the manifest has it, and the ids of its classes.

    Returns:
        The number of clips.

    Raises:
        LabelError: no clips, a clip without label, or a path or id that the format cannot hold.
    """
    count = 0
    with replace_file(path) as file:
        for clip, ids in entries:
            problem = None if ids else f"found no label of {quote(clip)}, expected at least one"
            for label_id in ids:
                problem = problem or label_problem(label_id, label_id)
            refuse(path, problem or _path_problem(clip))
            file.write(os.fsencode(f"{clip}\t{','.join(ids)}\n"))
            count += 1
        if count == 0:
            refuse(path, "found no clips to write, expected at least one")
    return count


def clip_spellings(path: str) -> Tuple[str, str, str]:
    """How else a clip may be written than as its path: without folders, without extension."""
    stem = os.path.splitext(path)[0]
    return os.path.basename(path), stem, os.path.basename(stem)


class _ClassesOfField(Dict[str, List[int]]):
    """Field `label[,label...]` -> its classes; each different field is taken apart once."""

    def __init__(self, descriptors: Sequence[Label], descriptors_file: str) -> None:
        super().__init__()
        self._file = descriptors_file
        self._index_of = index_labels(descriptors)

    def __missing__(self, field: str) -> List[int]:
        classes = dict.fromkeys(self._find(label.strip(), field) for label in field.split(","))
        self[field] = list(classes)
        return self[field]

    def _find(self, label: str, field: str) -> int:
        if not label:
            raise LabelError(
                f"found an empty label in {quote(field)}, expected clip<TAB>label[,label...]"
            )
        index = self._index_of.get(label)
        if index is None:
            raise LabelError(
                f"found the label {quote(label)}, expected an id of {self._file} (or a name that"
                " only one class has)"
            )
        return index


def _split_line(line: str) -> Tuple[str, str]:
    """The clip and the labels of a line."""
    clip, tab, field = line.rpartition("\t")
    if not tab:
        clip, _, field = line.rpartition(" ")
        clip = clip.rstrip(" ")
    return clip, field


def _clip_problem(line: str, name: str, manifest: Manifest, clip: int) -> str:
    expected = f"expected {quote(manifest.relative_path(clip))} ({manifest.location(clip)})"
    if not line:
        return f"found a blank line, {expected}"
    if not name:
        return f"found {quote(line)} without a tab, expected clip<TAB>label[,label...]"
    return f"found the clip {quote(name)}, {expected}"


def _check_end(num_clips: int, manifest: Manifest, next_line: Optional[str]) -> None:
    if num_clips < len(manifest):
        raise LabelError(
            f"found the end of the file, expected {quote(manifest.relative_path(num_clips))}"
            f" ({manifest.location(num_clips)}): each of the {len(manifest)} clips needs a line"
        )
    if next_line is not None:
        raise LabelError(
            f"found {quote(next_line)}, expected the end of the file after the {num_clips} clips"
            f" of {manifest.file}"
        )


def _path_problem(path: str) -> Optional[str]:
    if not path or "\n" in path or "\r" in path:
        return f"found the clip {quote(path)}, expected a path without line breaks"
    return None
