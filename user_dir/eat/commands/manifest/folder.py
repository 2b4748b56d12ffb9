"""`eat manifest folder`: list the audio files below a folder."""

import argparse
import os
import sys
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from ...data.manifest import write_manifest
from ...files import replace_file
from ..arguments import number, whole_number
from ..parallel import map_in_threads

HELP = "list the audio files below a folder"

# What libsndfile decodes and tells apart by its header.
EXTENSIONS = (
    *("aif", "aifc", "aiff", "au", "avr", "caf", "flac", "mp3", "nist", "oga", "ogg", "opus"),
    *("rf64", "snd", "sph", "voc", "w64", "wav", "wave"),
)

OUTPUTS = ("train.tsv", "valid.tsv", "unreadable.tsv")

DESCRIPTION = """\
List the audio files below a folder, at any depth, in OUT/train.tsv and OUT/valid.tsv. Only their
headers are read. Files that are not readable as audio or hold no samples are left out and listed
with the reason in OUT/unreadable.tsv; the exit status is then 1. Links to folders are followed,
and each folder is listed once. The same files, fraction and seed give the same manifests.
"""


class Clip(NamedTuple):
    """A readable file and what its header says."""

    path: str  # below the folder
    num_samples: int
    sample_rate_hz: int
    num_channels: int


class LeftOut(NamedTuple):
    """A file or folder that cannot be used, and why."""

    path: str  # below the folder
    reason: str


class Scan(NamedTuple):
    """What is below a folder: audio files, other files by extension, unreadable folders."""

    paths: List[str]
    other_extensions: Counter
    left_out: List[LeftOut]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest folder`."""
    parser.description = DESCRIPTION
    parser.add_argument("folder", metavar="DIR", help="the folder; becomes the manifests' root")
    parser.add_argument("--out", required=True, help="folder to write to, e.g. manifests/mine")
    parser.add_argument(
        "--valid-fraction",
        type=number(0, 1),
        default=0.05,
        help="share of the clips drawn at random for valid.tsv; at least one clip if there are"
        " two, and with 0 no valid.tsv (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=1, help="of that draw (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=16,
        help="threads, which mostly wait for the disk (default: %(default)s)",
    )
    parser.add_argument(
        "--extensions",
        nargs="+",
        metavar="EXT",
        default=EXTENSIONS,
        help=f"file name endings to look for, in any case (default: {' '.join(EXTENSIONS)})",
    )
    parser.add_argument("--force", action="store_true", help="replace existing manifests")


def run(args: argparse.Namespace) -> int:
    """Write the manifests of a folder; 1 if files had to be left out."""
    _check_folders(args)
    scan = find_audio(args.folder, args.extensions)
    if not scan.paths:
        raise ValueError(_nothing_found(args.folder, args.extensions, scan))
    clips, left_out = read_headers(args.folder, scan.paths, args.workers)
    left_out += scan.left_out
    os.makedirs(args.out, exist_ok=True)
    _write_left_out(args.out, left_out)
    if not clips:
        raise ValueError(
            f"{args.folder}: none of {len(scan.paths)} audio files is readable; the reasons are in"
            f" {os.path.join(args.out, 'unreadable.tsv')}"
        )
    in_valid = draw_valid(len(clips), args.valid_fraction, args.seed)
    splits = {
        "train.tsv": [clips[index] for index in np.flatnonzero(~in_valid)],
        "valid.tsv": [clips[index] for index in np.flatnonzero(in_valid)],
    }
    _write_splits(args.out, os.path.abspath(args.folder), splits)
    _print_totals(args.out, clips, splits)
    _print_omissions(args.out, left_out, scan.other_extensions)
    return 1 if left_out else 0


def find_audio(folder: str, extensions: Sequence[str]) -> Scan:
    """Find the files with one of the extensions below a folder, in sorted order."""
    wanted = {f".{extension.lower().lstrip('.')}" for extension in extensions}
    scan = Scan([], Counter(), [])
    seen = set()

    def leave_out(error: OSError) -> None:
        scan.left_out.append(LeftOut(os.path.relpath(error.filename, folder), str(error.strerror)))

    for parent, subfolders, names in os.walk(folder, onerror=leave_out, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:  # a link back to it, or a second one
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()  # which of two links to a folder counts must not depend on the disk
        prefix = "" if parent == folder else os.path.relpath(parent, folder)
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if extension in wanted:
                scan.paths.append(os.path.join(prefix, name))
            else:
                scan.other_extensions[extension] += 1
    scan.paths.sort()
    return scan


def read_headers(
    folder: str, paths: Sequence[str], num_workers: int
) -> Tuple[List[Clip], List[LeftOut]]:
    """Read the headers of files below a folder, in their order."""
    read = partial(_read_header, folder)
    results = list(
        map_in_threads(read, paths, num_workers, "reading headers", is_problem=_is_left_out)
    )
    clips = [result for result in results if isinstance(result, Clip)]
    return clips, [result for result in results if _is_left_out(result)]


def _is_left_out(result: Union[Clip, LeftOut]) -> bool:
    return isinstance(result, LeftOut)


def draw_valid(num_clips: int, valid_fraction: float, seed: int) -> np.ndarray:
    """Which clips are for validation: (N,) bool, at least one in each part if there are two."""
    in_valid = np.zeros(num_clips, dtype=bool)
    if valid_fraction > 0 and num_clips > 1:
        num_valid = min(max(1, round(valid_fraction * num_clips)), num_clips - 1)
        in_valid[np.random.default_rng(seed).permutation(num_clips)[:num_valid]] = True
    return in_valid


def _read_header(folder: str, path: str) -> Union[Clip, LeftOut]:
    from ...audio import audio_info

    absolute = os.path.join(folder, path)
    if not os.path.isfile(absolute):  # opening a pipe would wait forever
        return LeftOut(path, "not a file, or a broken link")
    if "\n" in path or "\r" in path:
        return LeftOut(path, "a line break in its name, which a manifest cannot hold")
    try:
        info = audio_info(absolute)
    except (ValueError, OSError) as error:
        return LeftOut(path, str(error).removeprefix(f"{absolute}: "))
    if info.num_samples <= 0:
        return LeftOut(path, "no samples")
    return Clip(path, *info)


def _check_folders(args: argparse.Namespace) -> None:
    if not os.path.isdir(args.folder):
        raise FileNotFoundError(f"{args.folder}: no such folder, expected one with audio files")
    existing = [name for name in OUTPUTS if os.path.exists(os.path.join(args.out, name))]
    if existing and not args.force:
        raise FileExistsError(
            f"{os.path.join(args.out, existing[0])}: exists already (--force replaces it)"
        )


def _nothing_found(folder: str, extensions: Sequence[str], scan: Scan) -> str:
    found = [f"{left_out.path}: {left_out.reason}" for left_out in scan.left_out]
    if scan.other_extensions:
        found.append(_count_extensions(scan.other_extensions))
    return (
        f"{folder}: found no audio file ({'; '.join(found) or 'no file at all'}), expected names"
        f" ending in {' '.join(f'.{extension}' for extension in extensions)}"
    )


def _write_splits(out: str, root: str, splits: Dict[str, List[Clip]]) -> None:
    for name, clips in splits.items():
        path = os.path.join(out, name)
        if clips:
            write_manifest(path, root, ((clip.path, clip.num_samples) for clip in clips))
        else:
            _remove(path)  # of an earlier run: its clips may be in train.tsv now


def _write_left_out(out: str, left_out: Sequence[LeftOut]) -> None:
    path = os.path.join(out, "unreadable.tsv")
    if not left_out:
        return _remove(path)
    with replace_file(path) as file:
        for name, reason in left_out:
            # One line each, whatever the name or the decoder's message holds.
            name = name.replace("\n", "\\n").replace("\r", "\\r")
            file.write(os.fsencode(f"{name}\t{' '.join(reason.split())}\n"))


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(path)


def _print_totals(out: str, clips: Sequence[Clip], splits: Dict[str, List[Clip]]) -> None:
    for name, part in splits.items():
        if part:
            hours = sum(clip.num_samples / clip.sample_rate_hz for clip in part) / 3600
            print(f"{os.path.join(out, name)}: {len(part)} clips, {hours:.2f} hours")
    rates = Counter(f"{clip.sample_rate_hz} Hz" for clip in clips)
    channels = Counter(clip.num_channels for clip in clips)
    print(f"sample rates: {_count_clips(rates)}")
    print(f"channels: {_count_clips(channels)}")
    print(f"next: eat stats {os.path.join(out, 'train.tsv')}")


def _print_omissions(out: str, left_out: Sequence[LeftOut], others: Counter) -> None:
    if others:
        print(f"not looked at: {_count_extensions(others)}", file=sys.stderr)
    if left_out:
        name, reason = left_out[0]
        print(
            f"left out {len(left_out)} files, listed in {os.path.join(out, 'unreadable.tsv')};"
            f" the first is {name!r}: {reason}",
            file=sys.stderr,
        )


def _count_clips(counts: Counter) -> str:
    return ", ".join(f"{value} ({count} clips)" for value, count in counts.most_common())


def _count_extensions(counts: Counter) -> str:
    most_common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    kinds = [f"{count} {extension or 'without extension'}" for extension, count in most_common]
    return f"{sum(counts.values())} other files: {', '.join(kinds)}"
