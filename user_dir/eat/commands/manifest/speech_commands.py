"""`eat manifest speech-commands`: list the clips of Speech Commands v2 and its published splits."""

import argparse
import hashlib
import os
from typing import Collection, Dict, List, Tuple

from eat.audio.finding import find_audio
from eat.data.headers import Clip, read_headers
from eat.data.labels import make_descriptors
from eat.work import Failure

from .output import (
    ClipLabels,
    add_output_arguments,
    check_output,
    compare_counts,
    report,
    split_files,
    unreadable_file,
    write_left_out,
    write_splits,
)

HELP = "list the clips of Speech Commands v2 with its published splits"

DESCRIPTION = """\
List the clips of Speech Commands v2 as published (a folder for each word, validation_list.txt,
testing_list.txt) with their labels: OUT/train.tsv, valid.tsv and eval.tsv, the .lbl files and
label_descriptors.csv. Folders whose name starts with an underscore (_background_noise_) are no
words. Where a list is not there, the published rule takes its place: a hash of the speaker in the
name of the file decides. Files that cannot be read are listed in OUT/unreadable.tsv; the exit
status is then 1.
"""

LISTS = {"valid": "validation_list.txt", "eval": "testing_list.txt"}
PUBLISHED = (84_843, 9_981, 11_005, 35)  # clips of train, valid and eval, words

_HASH_RANGE = 1 << 27
_VALID_SHARE, _EVAL_SHARE = 0.1, 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest speech-commands`."""
    parser.description = DESCRIPTION
    parser.add_argument("folder", metavar="DIR", help="the unpacked Speech Commands v2")
    parser.add_argument(
        "--test",
        metavar="DIR",
        help="a folder of words too, whose files are for evaluation, where a copy has them apart",
    )
    add_output_arguments(parser, "manifests/spcv2")


def run(args: argparse.Namespace) -> int:
    """Write the manifests of the splits; 1 if clips had to be left out."""
    splits: Dict[str, List[Clip]] = {"train": [], "valid": [], "eval": []}
    check_output(args.out, [*split_files(splits), unreadable_file()], args.force)
    folders = [os.path.abspath(folder) for folder in (args.folder, args.test) if folder]
    root = os.path.commonpath(folders)
    paths, unopened = find_words(folders[0], root)
    test_paths, unopened_test = find_words(folders[1], root) if args.test else ({}, [])
    paths.update(test_paths)
    split_of, missing = assign_splits(paths, args.folder)
    split_of.update(dict.fromkeys(test_paths, "eval"))

    clips, left_out = read_headers(root, [paths[name] for name in sorted(paths)], args.workers)
    left_out += unopened + unopened_test + missing
    write_left_out(args.out, left_out, unreadable_file())
    if not clips:
        raise ValueError(f"{root}: none of {len(paths)} audio files is readable")
    for clip in clips:
        splits[split_of[_name(clip.path)]].append(clip)
    words = {clip.path: os.path.dirname(_name(clip.path)) for clip in clips}
    descriptors = make_descriptors(words.values())
    labels = ClipLabels(descriptors, {path: [word] for path, word in words.items()})
    write_splits(args.out, root, splits, labels, args.force)
    counts = [*map(len, splits.values()), len(descriptors)]
    compare_counts("clips of train / valid / eval / words", counts, PUBLISHED)
    return report(args.out, splits, left_out, unreadable_file(), labels)


def find_words(folder: str, root: str) -> Tuple[Dict[str, str], List[Failure]]:
    """Find the audio files in folders of words.

    Returns:
        The paths below the root of the files `word/file`, and the folders that cannot be opened.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no such file in it.
    """
    scan = find_audio(folder)
    names = [path for path in scan.paths if path.count("/") == 1 and not path.startswith("_")]
    if not names:
        raise ValueError(
            f"{folder}: found no audio file in a folder of it ({len(scan.paths)} elsewhere),"
            " expected a folder for each word"
        )
    paths = {name: os.path.relpath(os.path.join(folder, name), root) for name in names}
    return paths, scan.left_out


def assign_splits(names: Collection[str], folder: str) -> Tuple[Dict[str, str], List[Failure]]:
    """Assign clips to splits, by the published lists or by the published rule.

    Args:
        names: the clips that are there, as `word/file`.
        folder: the data set, which may hold the lists.

    Returns:
        The split of each clip, and what the lists name and is not there.
    """
    listed: Dict[str, str] = {}
    missing = []
    for split, file in LISTS.items():
        path = os.path.join(folder, file)
        if not os.path.exists(path):
            print(f"{path} is not there: the hash of the speaker decides what is {split}")
            listed.update((name, split) for name in names if split_of_speaker(name) == split)
            continue
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    listed[line.strip()] = split
                    if line.strip() not in names:
                        missing.append(Failure(line.strip(), f"no such file ({path}:{number})"))
    return {name: listed.get(name, "train") for name in names}, missing


def split_of_speaker(name: str) -> str:
    """Which split a clip is in by the published rule: all clips of a speaker are in one.

    The SHA-1 hash of the speaker, modulo 2^27, is a number between 0 and 2^27 - 1. Clips below a
    tenth of the latter are for validation, below two tenths for testing.
    """
    speaker = os.path.basename(name).split("_nohash_")[0]
    share = (
        int(hashlib.sha1(os.fsencode(speaker)).hexdigest(), 16) % _HASH_RANGE / (_HASH_RANGE - 1)
    )
    if share < _VALID_SHARE:
        return "valid"
    return "eval" if share < _VALID_SHARE + _EVAL_SHARE else "train"


def _name(path: str) -> str:
    """`word/file` of a path."""
    return "/".join(path.split("/")[-2:])
