"""List the clips of ESC-50 as published, for its five-fold cross-validation."""

import os
from typing import Dict, Iterable, List, Tuple

from ..labels import Label
from ..split import read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set, write_left_out
from .table import Columns, Row, read_table

META_FILE = os.path.join("meta", "esc50.csv")
CLIP, LABEL, INDEX, FOLD = "filename", "category", "target", "fold"  # its columns
PUBLISHED = (2000, 50, 5)  # clips, classes, folds


def list_esc50(folder: str, out: str, force: bool = False, num_workers: int = 16) -> Listing:
    """Write a data set for each fold: `fold1/valid` is fold 1, `fold1/train` the other four.

    Args:
        folder: the unpacked ESC-50, with `meta/esc50.csv` and `audio`.
        out, force, num_workers: see `eat.data.annotations`.
    """
    meta_file = os.path.join(folder, META_FILE)
    if not os.path.exists(meta_file):
        raise FileNotFoundError(f"{meta_file}: no such file, expected ESC-50 as it was published")
    names = read_table(meta_file, Columns(CLIP, LABEL, separator="", split=FOLD))
    indices = read_table(meta_file, Columns(CLIP, INDEX, separator=""))
    fold_of, labels_of, classes = _read_rows(zip(names, indices, strict=True))
    folds = {fold: os.path.join(out, f"fold{fold}") for fold in sorted({*fold_of.values()})}
    for fold_folder in folds.values():
        refuse_to_replace(fold_folder, ("train", "valid"), None, force)

    audio = os.path.join(os.path.abspath(folder), "audio")
    clips, left_out = read_headers(audio, list(fold_of), num_workers)
    write_left_out(out, left_out, unreadable_file(), len(clips))
    clips = [clip._replace(labels=(labels_of[clip.path],)) for clip in clips]
    listing = Listing(out, {}, classes, left_out, os.path.join(out, unreadable_file()))
    for fold, fold_folder in folds.items():
        parts = {
            "train": [clip for clip in clips if fold_of[clip.path] != fold],
            "valid": [clip for clip in clips if fold_of[clip.path] == fold],
        }
        write_data_set(fold_folder, audio, parts, classes, force=force)
        listing.splits.update((f"fold{fold}/{name}", part) for name, part in parts.items())
    counts = (len(clips), len(classes), len(folds))
    listing.compare("clips / classes / folds", counts, PUBLISHED)
    return listing


def _read_rows(
    rows: Iterable[Tuple[Row, Row]],
) -> Tuple[Dict[str, str], Dict[str, str], List[Label]]:
    """The fold and the label of each clip, and the classes."""
    fold_of, labels_of, name_of = {}, {}, {}
    for row, target in rows:
        if not (target.labels and row.labels and target.labels[0].isdecimal()):
            raise ValueError(f"{row.location}: expected a number as {INDEX} and a name as {LABEL}")
        index, name = int(target.labels[0]), row.labels[0]
        clip = row.clip.strip()
        fold_of[clip], labels_of[clip] = row.split, name
        if name_of.setdefault(index, name) != name:
            raise ValueError(
                f"{row.location}: found {INDEX} {index} of {name!r}, expected {name_of[index]!r} as"
                " in a line before"
            )
    return fold_of, labels_of, [Label(index, name, name) for index, name in sorted(name_of.items())]
