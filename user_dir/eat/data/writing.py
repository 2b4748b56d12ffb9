"""Write a data set: manifests, label files, classes and the list of what was left out."""

import os
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from eat.audio.finding import Scan, count_extensions
from eat.files import lock_file, replace_file
from eat.work import Failure

from .events import write_events
from .labels import (
    DESCRIPTORS_FILE,
    Label,
    LabelError,
    read_descriptors,
    write_descriptors,
    write_labels,
)
from .manifest import ManifestError, write_manifest
from .split import Clip, Split, open_split, split_of

_SPLIT_NAME = re.compile(r"[\w-][\w.-]*")  # a file name, and no list for fairseq's valid_subset


@dataclass
class Listing:
    """A data set as it was listed and written."""

    folder: str  # holds the manifests
    splits: Dict[str, Sequence[Clip]]  # a split without clips has no manifest
    descriptors: Optional[List[Label]]  # the classes; None without labels
    left_out: List[Failure]  # inputs that are not listed
    left_out_file: str  # their list; there is no such file if there are none
    notes: List[str] = field(default_factory=list)  # what else was found
    warnings: List[str] = field(default_factory=list)  # likewise, and worth a look

    def compare(self, what: str, found: Sequence[int], published: Sequence[int]) -> None:
        """Note whether counts are those of the data set as it was published."""
        got, expected = (" / ".join(f"{n:,}" for n in counts) for counts in (found, published))
        if got == expected:
            self.notes.append(f"{what}: {got}, as published")
        else:
            self.warnings.append(f"warning: {what}: found {got}, published are {expected}")

    def note_rest(self, scan: Scan) -> None:
        """Note what else is in a folder of audio files."""
        for path, reason in scan.repeated:
            self.notes.append(f"{path}: {reason}")
        if scan.other_extensions:
            self.warnings.append(f"not looked at: {count_extensions(scan.other_extensions)}")


def unreadable_file(split: Optional[str] = None) -> str:
    """The name of the list of files that were left out, of one split or of all."""
    return "unreadable.tsv" if split is None else f"{split}.unreadable.tsv"


def refuse_to_replace(
    folder: str, splits: Iterable[str], other_file: Optional[str], force: bool
) -> None:
    """Refuse impossible names of splits and, without `force`, files of an earlier run."""
    for file in [*_split_files(splits), other_file]:
        path = os.path.join(folder, file or "")
        if file is not None and os.path.exists(path) and not force:
            raise FileExistsError(f"{path}: exists already (--force replaces it)")


def open_to_rewrite(manifest: str, out: str, other_file: Optional[str], force: bool) -> Split:
    """Open the split that a manifest file lists, and make another folder for its new version."""
    folder, name = split_of(manifest)
    if not manifest.endswith(".tsv"):
        made = "(`eat manifest folder DIR --out OUT` makes one)"
        raise ValueError(f"{manifest}: expected the file of a manifest, NAME.tsv {made}")
    if os.path.realpath(out) == os.path.realpath(folder):
        raise ValueError(f"--out: found the folder of {manifest} itself, expected another one")
    refuse_to_replace(out, [name], other_file, force)
    split = open_split(folder, name, labelled=False)
    os.makedirs(out, exist_ok=True)
    return split


def write_data_set(
    folder: str,
    root: str,
    splits: Mapping[str, Sequence[Clip]],
    descriptors: Optional[List[Label]] = None,
    left_out: Sequence[Failure] = (),
    left_out_file: Optional[str] = None,
    force: bool = False,
) -> Listing:
    """Write the manifests, label files and classes of a data set, all of them or none.

    Files of an earlier run without clips or labels in this one are removed, because their clips
    may be in another split now. Call `refuse_to_replace` before the work.

    Args:
        root: the folder that the paths of the clips start at.
        descriptors: the classes of the data set; None writes no labels.
        left_out, left_out_file: see `write_left_out`; without a file there is no list.
        force: replace classes of an earlier run that differ.

    Raises:
        FileExistsError: the folder has splits with other classes, without `force`.
        ManifestError, LabelError: a clip or class that the formats cannot hold.
        ValueError: no split has a clip.
        eat.files.InUseError: another process writes these.
    """
    if left_out_file is not None:
        write_left_out(folder, left_out, left_out_file, sum(map(len, splits.values())))
    classes_file = os.path.join(folder, DESCRIPTORS_FILE)
    is_kept = descriptors is not None and not force and os.path.exists(classes_file)
    if is_kept and read_descriptors(classes_file) != descriptors:
        raise FileExistsError(f"{classes_file}: lists other classes (--force replaces it)")
    files = {*_split_files(splits)}
    unfinished = os.path.join(folder, f".{next(iter(splits))}.unfinished")
    os.makedirs(folder, exist_ok=True)
    with lock_file(f"{unfinished}.lock"), _fresh(unfinished):
        try:
            _write_files(unfinished, root, splits, descriptors)
        except (ManifestError, LabelError) as error:
            raise type(error)(str(error).replace(unfinished, folder)) from None
        finished = os.listdir(unfinished)
        for file in files - {*finished}:
            _remove(os.path.join(folder, file))
        for file in finished:
            os.replace(os.path.join(unfinished, file), os.path.join(folder, file))
    path = os.path.join(folder, left_out_file or "")
    return Listing(folder, dict(splits), descriptors, list(left_out), path)


@contextmanager
def _fresh(folder: str) -> Iterator[None]:
    """A new folder, for a while; a killed run may have left one of that name."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder)


def _write_files(
    folder: str, root: str, splits: Mapping[str, Sequence[Clip]], descriptors: Optional[List[Label]]
) -> None:
    """Write the manifests of splits that have clips, with labels or events, and classes."""
    if descriptors is not None:
        write_descriptors(os.path.join(folder, DESCRIPTORS_FILE), descriptors)
    for name, clips in splits.items():
        path = os.path.join(folder, name)
        if clips:
            write_manifest(f"{path}.tsv", root, ((c.path, c.num_samples) for c in clips))
        if clips and descriptors is not None and (clips[0].labels or clips[0].events is None):
            write_labels(f"{path}.lbl", ((clip.path, clip.labels) for clip in clips))
        if clips and clips[0].events is not None:
            entries = ((clip.path, *event) for clip in clips for event in clip.events)
            write_events(f"{path}.events.tsv", entries)


def write_left_out(folder: str, left_out: Sequence[Failure], file: str, num_clips: int) -> None:
    """List the inputs that are left out, with the reasons; a ValueError if no clip is listed."""
    path = os.path.join(folder, file)
    # One line each, whatever the name or the decoder's message holds.
    left_out = [
        Failure(name.replace("\n", "\\n").replace("\r", "\\r"), " ".join(reason.split()))
        for name, reason in left_out
    ]
    if left_out:
        os.makedirs(folder, exist_ok=True)
        with replace_file(path) as list_file:
            list_file.writelines(os.fsencode("\t".join(one) + "\n") for one in left_out)
    else:
        _remove(path)
    if num_clips == 0:
        first = "".join(map(": ".join, left_out[:1]))
        raise ValueError(
            f"none of {len(left_out)} clips is usable; the reasons are in {path}, first {first}"
        )


def _split_files(splits: Iterable[str]) -> List[str]:
    """The names of the manifests, label files and events of splits."""
    for split in splits:
        if not _SPLIT_NAME.fullmatch(split):
            raise ValueError(f"found the split {split!r}, expected letters, digits, '_', '-', '.'")
    return [f"{split}.{ending}" for split in splits for ending in ("tsv", "lbl", "events.tsv")]


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(path)
