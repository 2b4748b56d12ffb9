"""Audio files below a folder, and what their headers say."""

import os
from collections import Counter
from functools import partial
from typing import List, NamedTuple, Sequence, Tuple, Union

from ..parallel import map_in_threads

# What libsndfile decodes and tells apart by its header.
EXTENSIONS = (
    *("aif", "aifc", "aiff", "au", "avr", "caf", "flac", "mp3", "nist", "oga", "ogg", "opus"),
    *("rf64", "snd", "sph", "voc", "w64", "wav", "wave"),
)


class Clip(NamedTuple):
    """A readable file and what its header says."""

    path: str  # below the root
    num_samples: int
    sample_rate_hz: int
    num_channels: int


class LeftOut(NamedTuple):
    """A file or folder that cannot be used, and why."""

    path: str  # below the root
    reason: str


class Scan(NamedTuple):
    """What is below a folder: audio files, other files by extension, unreadable folders."""

    paths: List[str]
    other_extensions: Counter
    left_out: List[LeftOut]


def find_audio(folder: str, extensions: Sequence[str] = EXTENSIONS) -> Scan:
    """Find the files with one of the extensions below a folder, in sorted order.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder, expected one with audio files")
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


def count_extensions(counts: Counter) -> str:
    """In words: how many files there are of which extensions."""
    most_common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    kinds = [f"{count} {extension or 'without extension'}" for extension, count in most_common]
    return f"{sum(counts.values())} other files: {', '.join(kinds)}"


def nothing_found(folder: str, extensions: Sequence[str], scan: Scan) -> str:
    """The message for a folder without audio."""
    found = [f"{left_out.path}: {left_out.reason}" for left_out in scan.left_out]
    if scan.other_extensions:
        found.append(count_extensions(scan.other_extensions))
    endings = " ".join(f".{extension.lstrip('.')}" for extension in extensions)
    return (
        f"{folder}: found no audio file ({'; '.join(found) or 'no file at all'}), expected names"
        f" ending in {endings}"
    )


def _read_header(folder: str, path: str) -> Union[Clip, LeftOut]:
    from ...audio import audio_info

    absolute = os.path.join(folder, path)
    if not os.path.isfile(absolute):  # opening a pipe would wait forever
        is_there = os.path.lexists(absolute)
        return LeftOut(path, "not a file, or a broken link" if is_there else "no such file")
    if "\n" in path or "\r" in path:
        return LeftOut(path, "a line break in its name, which a manifest cannot hold")
    try:
        info = audio_info(absolute)
    except (ValueError, OSError) as error:
        return LeftOut(path, str(error).removeprefix(f"{absolute}: "))
    if info.num_samples <= 0:
        return LeftOut(path, "no samples")
    return Clip(path, *info)
