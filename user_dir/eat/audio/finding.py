"""Which files of a folder are audio: the extensions of their names decide."""

import os
from collections import Counter
from typing import Dict, List, NamedTuple, Sequence, Tuple

from eat.work import Failure

# What libsndfile decodes and recognises by its header.
EXTENSIONS = (
    *("aif", "aifc", "aiff", "au", "avr", "caf", "flac", "mp3", "nist", "oga", "ogg", "opus"),
    *("rf64", "snd", "sph", "voc", "w64", "wav", "wave"),
)


class Scan(NamedTuple):
    """The content of a folder."""

    paths: List[str]  # audio files, below the folder
    other_extensions: Counter  # how many other files have which extension
    left_out: List[Failure]  # folders that cannot be opened
    repeated: List[Failure]  # links to folders that count already


def find_audio(folder: str, extensions: Sequence[str] = EXTENSIONS, required: bool = False) -> Scan:
    """Find the files with one of the extensions below a folder, in sorted order.

    Links to folders are followed; each folder counts once. A ValueError says that there is no audio
    file if one is `required`, a FileNotFoundError that there is no such folder.
    """
    if not os.path.isdir(folder):
        found = "found a file" if os.path.exists(folder) else "no such folder"
        raise FileNotFoundError(f"{folder}: {found}, expected a folder with audio files")
    wanted = {f".{extension.lower().lstrip('.')}" for extension in extensions}
    scan = Scan([], Counter(), [], [])
    seen: Dict[Tuple[int, int], str] = {}

    def leave_out(error: OSError) -> None:
        scan.left_out.append(Failure(os.path.relpath(error.filename, folder), str(error.strerror)))

    for parent, subfolders, names in os.walk(folder, onerror=leave_out, followlinks=True):
        status = os.stat(parent)
        prefix = "" if parent == folder else os.path.relpath(parent, folder)
        first = seen.setdefault((status.st_dev, status.st_ino), prefix)
        if first != prefix:
            reason = f"not listed twice: the same folder as {first or folder}"
            scan.repeated.append(Failure(prefix, reason))
            subfolders.clear()
            continue
        subfolders.sort()  # which of two links to a folder counts must not depend on the disk
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if extension in wanted:
                scan.paths.append(os.path.join(prefix, name))
            else:
                scan.other_extensions[extension] += 1
    scan.paths.sort()
    if required and not scan.paths:
        found = [f"{failure.path}: {failure.reason}" for failure in scan.left_out]
        if scan.other_extensions:
            found.append(count_extensions(scan.other_extensions))
        endings = " ".join(f".{extension.lstrip('.')}" for extension in extensions)
        raise ValueError(
            f"{folder}: found no audio file ({'; '.join(found) or 'no file at all'}), expected"
            f" names ending in {endings}"
        )
    return scan


def find_below(folder: str) -> Tuple[List[str], List[str], List[Failure]]:
    """The paths of the audio files of a folder; a ValueError says that it has none.

    Also returns a note on its other files, if it has any, and the folders that cannot be opened.
    """
    scan = find_audio(folder, required=True)
    left_out = [Failure(os.path.join(folder, below), why) for below, why in scan.left_out]
    notes = []
    if scan.other_extensions:
        notes.append(f"{folder}: left out {count_extensions(scan.other_extensions)}")
    return [os.path.join(folder, below) for below in scan.paths], notes, left_out


def count_extensions(counts: Counter) -> str:
    """Say how many files have which extensions."""
    most_common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    kinds = [f"{count} {extension or 'without extension'}" for extension, count in most_common]
    return f"{sum(counts.values())} other files: {', '.join(kinds)}"
