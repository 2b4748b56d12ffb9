"""Which files of a folder are audio: by the ends of their names."""

import os
from collections import Counter
from typing import List, NamedTuple, Sequence

from eat.work import Failure

# What libsndfile decodes and tells apart by its header.
EXTENSIONS = (
    *("aif", "aifc", "aiff", "au", "avr", "caf", "flac", "mp3", "nist", "oga", "ogg", "opus"),
    *("rf64", "snd", "sph", "voc", "w64", "wav", "wave"),
)


class Scan(NamedTuple):
    """What is below a folder: audio files, other files by extension, unreadable folders."""

    paths: List[str]
    other_extensions: Counter
    left_out: List[Failure]


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
        scan.left_out.append(Failure(os.path.relpath(error.filename, folder), str(error.strerror)))

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
