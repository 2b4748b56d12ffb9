"""A checkpoint, and what its user states because no file of it does.

Published weights often lack mean and std of their front end, the number of heads (no tensor shows
it) or the names of their classes. These come from the checkpoint, from its folder, from the name
under which it is published, or from the user.
"""

import json
import os
import re
from dataclasses import dataclass, replace
from typing import Any, List, Optional, Sequence, Tuple, Union

from eat.audio import LogMel

from .checkpoint import Checkpoint, CheckpointError, beside, in_order

PathLike = Union[str, "os.PathLike[str]"]

# Names of classes that may lie beside weights; `label_map.json` is ESP-AVES2's.
LABEL_FILES = (
    *("class_labels_indices.csv", "label_descriptors.csv"),
    *("label_map.json", "labels.txt"),
)
AUDIOSET_LABELS = (
    "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/class_labels_indices.csv"
)

# Published names -> mean and std of their front ends, which their files do not tell.
_PUBLISHED = (
    (re.compile(r"esp[-_]aves2[-_](sl[-_])?eat", re.IGNORECASE), (-5.553, 4.606)),
    (re.compile(r"EAT-(base|large)_epoch\d+|SSLAM_(pretrain|AS2M)"), (-4.268, 4.569)),
)


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is and what else is known of it; goes wherever a path of one goes.

    Attributes:
        path: a file, a folder, or a name on the Hugging Face hub, `owner/name[@revision][:file]`.
        mean, std: of the front end that it was trained with, see `eat.LogMel`. None: what the
            checkpoint says or is published with, else AudioSet's, with a warning.
        speed: to play recordings at, for a checkpoint that was trained with another or does not
            say; see `eat.audio.RangeConfig`.
        num_heads: of the attention, for weights without a configuration.
        labels: the names of the classes, or a file for `read_label_names`. None: those in the
            checkpoint or its folder.
    """

    path: str
    mean: Optional[float] = None
    std: Optional[float] = None
    speed: Optional[float] = None
    num_heads: Optional[int] = None
    labels: Union[PathLike, Sequence[str], None] = None

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


def source_of(path: PathLike, **stated: Any) -> Source:
    """A path with what is stated, unless that is None, in place of what it carries already."""
    source = path if isinstance(path, Source) else Source(os.fspath(path))
    return replace(source, **{key: value for key, value in stated.items() if value is not None})


def complete(checkpoint: Checkpoint, source: Source, path: str) -> Checkpoint:
    """Add what the source, the folder and the published name say to what the file does.

    `path` is the file or folder itself. A ValueError says that a statement does not fit.
    """
    found = checkpoint.encoder_config.num_heads
    if source.num_heads not in (None, found):
        raise CheckpointError(f"{source}: found num_heads {found}, not {source.num_heads} as given")
    checkpoint = replace(checkpoint, log_mel=_front_end(checkpoint, source, path))
    if source.labels is not None and checkpoint.classifier_config is None:
        raise ValueError(f"labels: found {source} without a classifier, expected a fine-tuned one")
    names, where = source.labels, "labels"
    if names is None and checkpoint.labels is None and checkpoint.classifier_config is not None:
        names = next((f for f in (beside(path, n) for n in LABEL_FILES) if f.exists()), None)
    if names is None:
        return checkpoint
    if isinstance(names, (str, os.PathLike)):
        names, where = read_label_names(names), os.fspath(names)
    num_classes = checkpoint.classifier_config.num_classes
    if len(names) != num_classes:
        raise ValueError(
            f"{where}: found {len(names)} names, expected {num_classes}, the classes of {source}"
        )
    return replace(checkpoint, labels=list(names))


def _front_end(checkpoint: Checkpoint, source: Source, path: str) -> Optional[LogMel]:
    """The front end of the training; None if nobody says."""
    told = checkpoint.log_mel or LogMel()
    known = (told.mean, told.std) if checkpoint.log_mel else _published_constants(source, path)
    mean, std = (
        found if given is None else given
        for given, found in zip((source.mean, source.std), known, strict=True)
    )
    if mean is None and std is None and source.speed is None:
        return None
    if mean is None or std is None:
        what = "mean and std" if source.speed is None else "mean, std and speed"
        raise ValueError(f"{source}: found only one of {what}, expected both mean and std")
    speed = told.speed if source.speed is None else source.speed
    length = told.target_length
    return replace(checkpoint.front_end(), mean=mean, std=std, speed=speed, target_length=length)


def _published_constants(source: Source, path: str) -> Tuple[Optional[float], Optional[float]]:
    """By the name of the repository, file or folder."""
    place = os.path.abspath(path).split(os.sep)[-2:]
    for pattern, constants in _PUBLISHED:
        if any(pattern.search(name) for name in (source.path, *place)):
            return constants
    return None, None


def read_label_names(path: PathLike) -> List[str]:
    """The names of classes in the order of a classifier's outputs.

    From a .csv of index, id and name (AudioSet's `class_labels_indices.csv`, or our
    `label_descriptors.csv`), a .json that maps names to indices or indices to names, or a text
    file with a name per line. A ValueError says what does not fit.
    """
    from eat.data.labels import read_descriptors  # most checkpoints need no such file

    path = os.fspath(path)
    if path.endswith(".csv"):
        return [label.name for label in read_descriptors(path)]
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: found {error}, expected names in UTF-8") from error
    if not path.endswith(".json"):
        return text.rstrip().splitlines()
    try:
        pairs = [(i, n) if isinstance(i, int) else (int(n), i) for n, i in json.loads(text).items()]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: found no map of names and indices ({error})") from error
    return in_order(pairs, path)
