"""What the actions of `eat manifest` write, and what they say of it."""

import argparse
import os
import re
import sys
from collections import Counter
from contextlib import suppress
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from eat.data.headers import Clip
from eat.data.labels import (
    DESCRIPTORS_FILE,
    Label,
    read_descriptors,
    write_descriptors,
    write_labels,
)
from eat.data.manifest import write_manifest
from eat.files import replace_file
from eat.work import Failure

from ..arguments import whole_number

_SPLIT_NAME = re.compile(r"[\w-][\w.-]*")  # a file name, and no list for fairseq's valid_subset


class ClipLabels(NamedTuple):
    """The classes of a data set, and for the path of each clip the ids of its own."""

    descriptors: List[Label]
    ids: Dict[str, Sequence[str]]


def add_output_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Declare the arguments that all actions which list clips share."""
    parser.add_argument("--out", required=True, help=f"folder to write to, e.g. {example}")
    parser.add_argument("--force", action="store_true", help="replace existing manifests")
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=16,
        help="threads, which mostly wait for the disk (default: %(default)s)",
    )


def compare_counts(what: str, found: Sequence[int], published: Sequence[int]) -> None:
    """Say whether a data set is as it was published."""
    got, expected = (" / ".join(f"{n:,}" for n in counts) for counts in (found, published))
    if got == expected:
        print(f"{what}: {got}, as published")
    else:
        print(f"warning: {what}: found {got}, published are {expected}", file=sys.stderr)


def split_files(splits: Iterable[str]) -> List[str]:
    """The names of the manifests and label files of splits.

    Raises:
        ValueError: a name that is not possible.
    """
    for split in splits:
        if not _SPLIT_NAME.fullmatch(split):
            raise ValueError(f"found the split {split!r}, expected letters, digits, '_', '-', '.'")
    return [f"{split}.{ending}" for split in splits for ending in ("tsv", "lbl")]


def unreadable_file(split: Optional[str] = None) -> str:
    """The name of the list of files that were left out, of all splits or of one."""
    return "unreadable.tsv" if split is None else f"{split}.unreadable.tsv"


def check_output(out: str, names: Iterable[str], force: bool) -> None:
    """Refuse to replace files that an earlier run wrote, unless forced to."""
    existing = [name for name in names if os.path.exists(os.path.join(out, name))]
    if existing and not force:
        raise FileExistsError(
            f"{os.path.join(out, existing[0])}: exists already (--force replaces it)"
        )


def write_splits(
    out: str,
    root: str,
    splits: Mapping[str, Sequence[Clip]],
    labels: Optional[ClipLabels] = None,
    force: bool = False,
) -> None:
    """Write the manifests, and with `labels` the label files and the descriptors of the classes.

    Files of an earlier run that this one has no clips or labels for are removed: its clips may be
    in another split now.

    Raises:
        FileExistsError: without `force`, the folder has splits with other classes.
    """
    os.makedirs(out, exist_ok=True)
    if labels is not None:
        write_classes(os.path.join(out, DESCRIPTORS_FILE), labels.descriptors, force)
    for name, clips in splits.items():
        manifest, label_file = (os.path.join(out, file) for file in split_files([name]))
        if not clips or labels is None:
            _remove(label_file)
        if not clips:
            _remove(manifest)
            continue
        write_manifest(manifest, root, ((clip.path, clip.num_samples) for clip in clips))
        if labels is not None:
            write_labels(label_file, ((clip.path, labels.ids[clip.path]) for clip in clips))


def write_left_out(out: str, left_out: Sequence[Failure], name: str) -> None:
    """Write one line per file that cannot be used: its name and why; no file if there are none."""
    path = os.path.join(out, name)
    if not left_out:
        return _remove(path)
    os.makedirs(out, exist_ok=True)
    with replace_file(path) as file:
        for name, reason in left_out:
            # One line each, whatever the name or the decoder's message holds.
            name = name.replace("\n", "\\n").replace("\r", "\\r")
            file.write(os.fsencode(f"{name}\t{' '.join(reason.split())}\n"))


def report(
    out: str,
    splits: Mapping[str, Sequence[Clip]],
    left_out: Sequence[Failure],
    unreadable: str,
    labels: Optional[ClipLabels] = None,
) -> int:
    """Say how much there is of what, and what could not be used and is listed in `unreadable`.

    Returns:
        The exit status: 1 if something was left out.
    """
    splits = {name: clips for name, clips in splits.items() if clips}
    for name, clips in splits.items():
        hours = sum(clip.num_samples / clip.sample_rate_hz for clip in clips) / 3600
        print(f"{os.path.join(out, name)}.tsv: {len(clips)} clips, {hours:.2f} hours")
        if labels is not None:
            _print_classes(clips, labels)
    # A clip of a cross-validation is in several splits.
    different = dict.fromkeys(clip for clips in splits.values() for clip in clips)
    rates = Counter(f"{clip.sample_rate_hz} Hz" for clip in different)
    channels = Counter(clip.num_channels for clip in different)
    print(f"sample rates: {_count_clips(rates)}")
    print(f"channels: {_count_clips(channels)}")
    print(f"next: eat stats {os.path.join(out, next(iter(splits)))}.tsv")
    if left_out:
        name, reason = left_out[0]
        print(
            f"left out {len(left_out)} files, listed in {os.path.join(out, unreadable)};"
            f" the first is {name!r}: {reason}",
            file=sys.stderr,
        )
    return 1 if left_out else 0


def _print_classes(clips: Sequence[Clip], labels: ClipLabels) -> None:
    names = {label.id: label.name for label in labels.descriptors}
    counts = Counter(label_id for clip in clips for label_id in labels.ids[clip.path])
    sizes = [counts[label_id] for label_id in names]
    print(
        f"  {len(names)} classes with {min(sizes)} to {max(sizes)} clips,"
        f" {sum(sizes) / len(clips):.3g} classes per clip"
    )
    absent = [name for label_id, name in names.items() if not counts[label_id]]
    if absent:
        more = ", ..." if len(absent) > 10 else ""
        print(f"  {len(absent)} classes without a clip: {', '.join(absent[:10])}{more}")


def write_classes(path: str, descriptors: Sequence[Label], force: bool) -> None:
    """Write the descriptors of classes; a FileExistsError if others are there, unless forced."""
    if os.path.exists(path) and not force and read_descriptors(path) != list(descriptors):
        raise FileExistsError(f"{path}: lists other classes (--force replaces it)")
    write_descriptors(path, descriptors)


def _count_clips(counts: Counter) -> str:
    return ", ".join(f"{value} ({count} clips)" for value, count in counts.most_common())


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(path)
