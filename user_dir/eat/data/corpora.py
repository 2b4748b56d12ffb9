"""Several data sets as one: the folders of `task.data`, their manifests and shares of an epoch."""

import math
import os
from bisect import bisect_right
from itertools import accumulate
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np

from eat.files import FilePath, url_problem

from .manifest import Manifest


class JoinedManifest:
    """Manifests one after the other; clips are numbered through all of them.

    It has what the data sets need of a `Manifest`, and opens nothing that those have not.
    """

    def __init__(self, parts: Sequence[Manifest]) -> None:
        self.parts = list(parts)
        self.file = ", ".join(part.file for part in parts)
        self._starts = [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def num_samples(self) -> np.ndarray:
        """(N,) int64, samples per channel of each clip; made anew at each call."""
        return np.concatenate([part.num_samples for part in self.parts])

    def relative_path(self, index: int) -> str:
        """Path of clip `index` below the root of its own manifest."""
        part, clip = self._find(index)
        return part.relative_path(clip)

    def clip_samples(self, index: int) -> int:
        """`num_samples[index]`."""
        part, clip = self._find(index)
        return part.clip_samples(clip)

    def path(self, index: int) -> str:
        """Absolute path of clip `index`, or its address in a pack."""
        part, clip = self._find(index)
        return part.path(clip)

    def location(self, index: int) -> str:
        """Where clip `index` is listed, for messages: `file:line`."""
        part, clip = self._find(index)
        return part.location(clip)

    def _find(self, index: int) -> Tuple[Manifest, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.file}: clip {index} of {len(self)}")
        number = bisect_right(self._starts, index) - 1
        return self.parts[number], index - self._starts[number]


AnyManifest = Union[Manifest, JoinedManifest]


def join_manifests(parts: Sequence[Manifest]) -> AnyManifest:
    """One manifest as it is, several as one."""
    return parts[0] if len(parts) == 1 else JoinedManifest(parts)


def folders_of(data: Union[FilePath, Sequence[FilePath]]) -> List[str]:
    """The folders that `task.data` names, which is one or a list; a ValueError if none is named."""
    folders = [*data] if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    if not folders or not all(one and isinstance(one, (str, os.PathLike)) for one in folders):
        raise ValueError(
            f"task.data: found {data}, expected a folder with manifests, or several:"
            " 'task.data=[manifests/a,manifests/b]'"
        )
    for folder in folders:
        if url_problem(folder):
            raise ValueError(f"task.data: {folder}: {url_problem(folder)}")
    return [os.fspath(folder) for folder in folders]


def check_weights(weights: Optional[Sequence[Any]], num_corpora: int) -> None:
    """Raise a ValueError for shares of an epoch that do not fit the corpora; None always does."""
    if weights is not None and not (
        len(weights) == num_corpora and all(0 < weight < math.inf for weight in weights)
    ):
        raise ValueError(
            f"task.weights: found {list(weights)}, expected a number above 0 for each of the"
            f" {num_corpora} folders of task.data, or null"
        )
