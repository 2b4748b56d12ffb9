"""The clips of a data set: what the headers of their files say, and the lists of a split."""

import os
from functools import partial
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from eat.work import Failure, is_failure, map_in_threads

from .events import EventTable, read_events
from .labels import DESCRIPTORS_FILE, Label, LabelTable, read_descriptors, read_labels
from .manifest import Manifest

ClipEvents = Tuple[Tuple[float, float, str], ...]  # onset and offset in seconds, id of the class


class Clip(NamedTuple):
    """A clip as manifests and label files list it."""

    path: str  # below the manifest's root
    num_samples: int  # per channel, at the file's own rate
    sample_rate_hz: int = 0  # 0: not known
    num_channels: int = 0
    labels: Tuple[str, ...] = ()  # ids of its classes
    events: Optional[ClipEvents] = None  # None: the data set has no file of events

    @property
    def classes(self) -> Tuple[str, ...]:
        """The ids of the classes of the clip and of its events, each once."""
        return tuple(dict.fromkeys((*self.labels, *(label for *_, label in self.events or ()))))


class Split(NamedTuple):
    """The clips of `{folder}/{name}.tsv`, with their labels and events if there are any."""

    manifest: Manifest
    descriptors: Optional[List[Label]]  # the classes of the data set; None without labels
    labels: Optional[LabelTable]  # the classes of each clip; None without labels
    events: Optional[EventTable] = None  # of each clip; None without, or if they were not asked for

    @property
    def paths(self) -> List[str]:
        """The absolute path, or address in a pack, of each clip."""
        return [self.manifest.path(clip) for clip in range(len(self.manifest))]

    def clip(self, index: int) -> Clip:
        """A clip as the files list it."""
        clip = Clip(self.manifest.relative_path(index), self.manifest.clip_samples(index))
        classes = self.descriptors or []
        if self.labels is not None:
            ids = (classes[label].id for label in self.labels.classes(index))
            clip = clip._replace(labels=tuple(ids))
        if self.events is not None:
            events = self.events.events(index)
            clip = clip._replace(events=tuple((on, off, classes[i].id) for on, off, i in events))
        return clip


def open_split(folder: str, name: str, labelled: bool = True) -> Split:
    """Read the manifest and labels of a split, e.g. "train".

    One that need not be `labelled` is read with the labels and events that there are.
    """
    manifest = Manifest(os.path.join(folder, f"{name}.tsv"))
    files = [os.path.join(folder, f"{name}.{ending}") for ending in ("lbl", "events.tsv")]
    has_labels, has_events = (not labelled and os.path.exists(file) for file in files)
    if not labelled and not has_labels and not has_events:
        return Split(manifest, None, None)
    descriptors_file = os.path.join(folder, DESCRIPTORS_FILE)
    known = manifest, read_descriptors(descriptors_file), descriptors_file
    labels = read_labels(files[0], *known) if labelled or has_labels else None
    return Split(*known[:2], labels, read_events(files[1], *known) if has_events else None)


def split_of(manifest_file: str) -> Tuple[str, str]:
    """The folder and name of the split that a manifest file lists, as `open_split` takes them."""
    folder, file = os.path.split(manifest_file)
    return folder, os.path.splitext(file)[0]


def read_headers(
    folder: str,
    paths: Sequence[str],
    num_workers: int,
    addresses: Optional[Mapping[str, str]] = None,
) -> Tuple[List[Clip], List[Failure]]:
    """Read the headers of files below a folder, in their order; some are at other `addresses`."""
    read = partial(_read_header, folder, addresses or {})
    results = list(map_in_threads(read, paths, num_workers, "reading headers"))
    clips = [result for result in results if isinstance(result, Clip)]
    return clips, [result for result in results if is_failure(result)]


def _read_header(folder: str, addresses: Mapping[str, str], path: str) -> Union[Clip, Failure]:
    from eat.audio import audio_info

    absolute = os.path.join(folder, addresses.get(path, path))
    if path not in addresses and not os.path.isfile(absolute):  # opening a pipe would wait forever
        is_there = os.path.lexists(absolute)
        return Failure(path, "not a file, or a broken link" if is_there else "no such file")
    if "\n" in absolute or "\r" in absolute:
        return Failure(path, "a line break in its name, which a manifest cannot hold")
    try:
        info = audio_info(absolute)
    except (ValueError, OSError) as error:
        return Failure(path, Failure.of(absolute, error).reason)
    return Clip(path, *info) if info.num_samples > 0 else Failure(path, "no samples")
