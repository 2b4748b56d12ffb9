"""List the clips of Speech Commands v2 as published, with its splits."""

import hashlib
import os
from collections import Counter
from typing import Collection, Dict, List, Optional, Tuple

from eat.audio.finding import find_audio
from eat.work import Failure

from ..labels import make_descriptors
from ..split import Clip, read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set

LISTS = {"valid": "validation_list.txt", "eval": "testing_list.txt"}
PUBLISHED = (84_843, 9_981, 11_005, 35)  # clips of train, valid and eval, words

_HASH_RANGE = 1 << 27


def list_speech_commands(
    folder: str, out: str, test: Optional[str] = None, force: bool = False, num_workers: int = 16
) -> Listing:
    """Write train, valid and eval of Speech Commands, with the words as labels.

    Args:
        folder: the unpacked data set, with a folder for each word; those whose names start with an
            underscore (`_background_noise_`) are no words.
        test: another folder of words, whose files are eval, if a copy keeps them apart.
        out, force, num_workers: see `eat.data.annotations`.
    """
    splits: Dict[str, List[Clip]] = {"train": [], "valid": [], "eval": []}
    refuse_to_replace(out, splits, unreadable_file(), force)
    folders = [os.path.abspath(one) for one in (folder, test) if one]
    root = os.path.commonpath(folders)
    paths, left_out, notes = _find_words(folders[0], root)
    test_paths, *of_test = _find_words(folders[1], root) if test else ({}, [], [])
    paths.update(test_paths)
    split_of, missing, missing_lists = _assign_splits(paths, folder)
    split_of.update(dict.fromkeys(test_paths, "eval"))

    clips, unreadable = read_headers(root, [paths[name] for name in sorted(paths)], num_workers)
    left_out = unreadable + left_out + of_test[0] + missing
    for clip in clips:
        word, file = clip.path.split("/")[-2:]
        splits[split_of[f"{word}/{file}"]].append(clip._replace(labels=(word,)))
    words = make_descriptors(clip.labels[0] for part in splits.values() for clip in part)
    listing = write_data_set(out, root, splits, words, left_out, unreadable_file(), force)
    listing.notes += notes + of_test[1] + missing_lists
    counts = [*map(len, splits.values()), len(words)]
    listing.compare("clips of train / valid / eval / words", counts, PUBLISHED)
    return listing


def split_of_speaker(name: str) -> str:
    """The split of a clip by the published rule, which puts all clips of a speaker into one.

    The SHA-1 hash of the speaker, modulo 2^27, is a number between 0 and 2^27 - 1. Clips below a
    tenth of the latter are for validation, below two tenths for testing.
    """
    speaker = os.path.basename(name).split("_nohash_")[0]
    number = int(hashlib.sha1(os.fsencode(speaker)).hexdigest(), 16) % _HASH_RANGE
    share = number / (_HASH_RANGE - 1)
    return "valid" if share < 0.1 else "eval" if share < 0.2 else "train"


def _find_words(folder: str, root: str) -> Tuple[Dict[str, str], List[Failure], List[str]]:
    """Paths below the root of the files `word/file`, folders that cannot be opened, notes."""
    scan = find_audio(folder)
    names = [path for path in scan.paths if path.count("/") == 1 and not path.startswith("_")]
    if not names:
        raise ValueError(
            f"{folder}: found no audio file in a folder of it ({len(scan.paths)} elsewhere),"
            " expected a folder for each word"
        )
    paths = {name: os.path.relpath(os.path.join(folder, name), root) for name in names}
    skipped = Counter(os.path.dirname(path) for path in scan.paths if path not in paths)
    counts = [f"{count} in {place or 'no folder'}" for place, count in sorted(skipped.items())]
    notes = [f"{folder}: audio files of no word: {', '.join(counts)}"] if counts else []
    return paths, scan.left_out, notes


def _assign_splits(
    names: Collection[str], folder: str
) -> Tuple[Dict[str, str], List[Failure], List[str]]:
    """Assign clips, given as `word/file`, to splits by the lists in the folder, or by the rule.

    Returns the split of each clip, clips of the lists that are not there, and notes for the user.
    """
    split_of = dict.fromkeys(names, "train")
    missing, notes = [], []
    for split, file in LISTS.items():
        path = os.path.join(folder, file)
        if not os.path.exists(path):
            notes.append(f"{path} is not there: the hash of the speaker decides what is {split}")
            split_of.update((name, split) for name in names if split_of_speaker(name) == split)
            continue
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(map(str.strip, lines), start=1):
                if line in split_of:
                    split_of[line] = split
                elif line:
                    missing.append(Failure(line, f"no such file ({path}:{number})"))
    return split_of, missing, notes
