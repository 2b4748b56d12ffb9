"""Which files of a folder, or of tars in it, are audio: the extensions of their names decide."""

import os
import re
from collections import Counter
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

from eat.files import url_problem
from eat.work import Failure

from . import AudioError
from .packs import find_part, list_tar, spell_out

# What libsndfile decodes and recognises by its header.
EXTENSIONS = (
    *("aif", "aifc", "aiff", "au", "avr", "caf", "flac", "mp3", "nist", "oga", "ogg", "opus"),
    *("rf64", "snd", "sph", "voc", "w64", "wav", "wave"),
)
_TAR = re.compile(r".*\.(tar|tar\.[a-z0-9]+|tgz|tbz2|txz)", re.DOTALL | re.IGNORECASE)


class Scan(NamedTuple):
    """The content of a folder, or of a tar."""

    root: str  # the folder that paths start at
    paths: List[str]  # audio files below it; those in tars as `shard.tar/NAME`
    members: Dict[str, str]  # the address `shard.tar:OFFSET:LENGTH` of each file in a tar
    other_extensions: Counter  # how many other files have which extension
    left_out: List[Failure]  # folders and tars that cannot be opened
    repeated: List[Failure]  # links to folders that count already

    def address(self, path: str) -> str:
        """Where the file of a path is, below the root: in a tar, or at the path itself."""
        return self.members.get(path, path)


def find_audio(
    folder: str,
    extensions: Sequence[str] = EXTENSIONS,
    required: bool = False,
    in_tars: bool = False,
) -> Scan:
    """Find the files with one of the extensions below a folder, in sorted order.

    Links to folders are followed; each folder counts once. With `in_tars` the files in tars count,
    too, and the folder may be a tar itself. A ValueError says that there is no audio file if one is
    `required`, a FileNotFoundError that there is no such folder.
    """
    if url_problem(folder):
        raise ValueError(f"{folder}: {url_problem(folder)}")
    is_tar = in_tars and _TAR.fullmatch(folder) and os.path.isfile(folder)
    if not is_tar and not os.path.isdir(folder):
        found = "found a file" if os.path.exists(folder) else "no such folder"
        raise FileNotFoundError(f"{folder}: {found}, expected a folder with audio files")
    wanted = {f".{extension.lower().lstrip('.')}" for extension in extensions}
    scan = Scan(os.path.dirname(folder) if is_tar else folder, [], {}, Counter(), [], [])
    for path in [os.path.basename(folder)] if is_tar else _walk(folder, scan):
        files = _open_tar(path, scan) if in_tars and _TAR.fullmatch(path) else [path]
        for file in files:
            extension = os.path.splitext(file)[1].lower()
            if extension in wanted:
                scan.paths.append(file)
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


def _open_tar(path: str, scan: Scan) -> Iterator[str]:
    """Note the members of a tar below the root of a scan, all or none; yields their paths."""
    try:
        members = list(list_tar(os.path.join(scan.root, path)))
    except (AudioError, OSError) as error:
        scan.left_out.append(Failure.of(os.path.join(scan.root, path), error)._replace(path=path))
        return
    for name, offset, length, problem in members:
        if problem:
            scan.left_out.append(Failure(f"{path}/{name} (at byte {offset})", problem))
        else:
            scan.members[f"{path}/{name}"] = f"{path}:{offset}:{length}"
            yield f"{path}/{name}"


def _walk(folder: str, scan: Scan) -> Iterator[str]:
    """Yield the paths of all files below a folder; notes what is no file in its scan."""
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
        yield from (os.path.join(prefix, name) for name in sorted(names))


def find_inputs(inputs: Sequence[str]) -> Tuple[List[Tuple[str, str]], List[str], List[Failure]]:
    """Take the audio files in folders and tars in place of these; other inputs stay as they are.

    Returns the path or address of each file with its name below the input; by folder, what other
    files it has; and the folders and tars that cannot be opened. A ValueError says that a folder
    has no audio file.
    """
    files, notes, left_out = [], [], []
    for path in inputs:
        if not os.path.isdir(path) and not _TAR.fullmatch(path):
            name = os.path.basename(path)
            if find_part(path):  # dawn.wav/1.5-2.5
                name = "/".join(spell_out(path, "").split("/")[-2:])
            files.append((path, name))
            continue
        scan = find_audio(path, required=True, in_tars=True)
        files += [(os.path.join(scan.root, scan.address(name)), name) for name in scan.paths]
        left_out += [Failure(os.path.join(scan.root, below), why) for below, why in scan.left_out]
        if scan.other_extensions:
            notes.append(f"{path}: left out {count_extensions(scan.other_extensions)}")
    return files, notes, left_out


def count_extensions(counts: Counter) -> str:
    """Say how many files have which extensions."""
    most_common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    kinds = [f"{count} {extension or 'without extension'}" for extension, count in most_common]
    return f"{sum(counts.values())} other files: {', '.join(kinds)}"
