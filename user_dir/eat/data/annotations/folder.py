"""List the audio files below a folder, with labels and splits from folder names or a table."""

import os
from collections import defaultdict
from typing import Dict, List, Optional, Sequence, Tuple

from eat.audio.finding import EXTENSIONS, count_extensions, find_audio

from ..headers import Clip, read_headers
from ..labels import DESCRIPTORS_FILE, Label, index_labels, make_descriptors, read_descriptors
from ..sampling import draw_parts, draw_stratified_parts
from ..writing import Listing, refuse_to_replace, split_files, unreadable_file, write_data_set
from .table import Annotations, Columns, annotate, label_by_parent, read_table, split_by_top

LABEL_SOURCES = ("parent", "csv:")
SPLIT_SOURCES = ("top", "column:")
VALID_FRACTION = 0.05
_DRAWN = ("train", "valid", "eval")


def list_folder(
    folder: str,
    out: str,
    *,
    extensions: Sequence[str] = EXTENSIONS,
    labels_from: Optional[str] = None,
    columns: Columns = Columns(),  # noqa: B008
    descriptors: Optional[str] = None,
    splits_from: Optional[str] = None,
    split: Optional[str] = None,
    valid_fraction: Optional[float] = None,
    eval_fraction: float = 0.0,
    seed: int = 1,
    force: bool = False,
    num_workers: int = 16,
) -> Listing:
    """Write manifests of the audio files below a folder, at any depth; only headers are read.

    Args:
        folder: becomes the root of the manifests.
        out: the folder to write to.
        extensions: of the files to list, in any case.
        labels_from: "parent" labels a file by the folder it is in, "csv:FILE" by a table; None
            writes no labels.
        columns: which columns of the table to read.
        descriptors: a `label_descriptors.csv` with the classes; None takes all labels found, in
            alphabetical order, or for a `split` those that `out` has.
        splits_from: "top" takes the topmost folders as splits, "column:NAME" a column of the table.
        split: lists all clips in this split.
        valid_fraction, eval_fraction: shares of the clips, or with `splits_from` of those of train,
            that are drawn for valid and eval, class by class if there are labels. None is 0.05, or
            0 if `splits_from` or `split` is given.
        seed: of the draw; the same files, fractions and seed give the same manifests.
        force: replace files of an earlier run.
        num_workers: threads that read headers.

    Raises:
        FileNotFoundError, FileExistsError: the folder or a table is missing; `out` has a data set.
        ValueError: arguments that do not go together, a bad table, or no usable clip.
    """
    fractions = _fractions(splits_from or split, valid_fraction, eval_fraction)
    _check_usage(labels_from, columns, descriptors, splits_from, split, fractions)
    names = [split] if split else list(_DRAWN)
    left_out_file = unreadable_file(split)
    refuse_to_replace(out, [*split_files(names), left_out_file], force)
    scan = find_audio(folder, extensions, required=True)
    found = _annotate(folder, scan.paths, labels_from, columns, splits_from, split)
    names += sorted({*found.splits.values()} - {*names})
    refuse_to_replace(out, split_files(names), force)

    paths = [path for path in scan.paths if labels_from is None or path in found.labels]
    clips, left_out = read_headers(folder, paths, num_workers)
    classes = None
    if labels_from and clips:
        existing = os.path.join(out, DESCRIPTORS_FILE)
        if descriptors is None and split and os.path.exists(existing):
            descriptors = existing
        classes, clips = _label(clips, found.labels, descriptors)
    splits = dict.fromkeys(names, ()) | _split(clips, found.splits, classes, fractions, seed)
    left_out += found.left_out + scan.left_out
    root = os.path.abspath(folder)
    listing = write_data_set(out, root, splits, classes, left_out, left_out_file, force)
    if scan.other_extensions:
        listing.warnings.append(f"not looked at: {count_extensions(scan.other_extensions)}")
    return listing


def check_source(sources: Tuple[str, str], text: str) -> str:
    """Return a source of labels or splits as it is, or raise a ValueError if it is impossible."""
    alone, named = sources
    if text != alone and (not text.startswith(named) or text == named):
        raise ValueError(f"found {text!r}, expected {alone}, or {named} and a name")
    return text


def _name_after(prefix: str, source: Optional[str]) -> Optional[str]:
    """The file or column that a source names."""
    return source.removeprefix(prefix) if source and source.startswith(prefix) else None


def _fractions(source: Optional[str], valid: Optional[float], evaluation: float) -> List[float]:
    if valid is None:
        valid = 0.0 if source else VALID_FRACTION
    return [valid, evaluation]


def _check_usage(
    labels_from: Optional[str],
    columns: Columns,
    descriptors: Optional[str],
    splits_from: Optional[str],
    split: Optional[str],
    fractions: Sequence[float],
) -> None:
    """Refuse arguments that do not go together."""
    for sources, source in ((LABEL_SOURCES, labels_from), (SPLIT_SOURCES, splits_from)):
        if source is not None:
            check_source(sources, source)
    needs_table = {
        "--clip-column": columns.clip,
        "--label-column": columns.label,
        "--label-separator": columns.separator,
        "--splits-from column:NAME": _name_after("column:", splits_from),
    }
    for option, value in needs_table.items():
        if value is not None and _name_after("csv:", labels_from) is None:
            raise ValueError(f"{option}: found no table, expected --labels-from csv:FILE")
    if descriptors is not None and labels_from is None:
        raise ValueError("--descriptors: found no labels, expected --labels-from")
    if split is not None and (splits_from is not None or any(fractions)):
        other = "--splits-from" if splits_from else "a share for another split"
        raise ValueError(f"--split: found {other} too, expected one or the other")
    if sum(fractions) >= 1:
        raise ValueError(
            f"--valid-fraction and --eval-fraction: found {sum(fractions):g} together, expected"
            " less than 1"
        )


def _annotate(
    folder: str,
    paths: Sequence[str],
    labels_from: Optional[str],
    columns: Columns,
    splits_from: Optional[str],
    split: Optional[str],
) -> Annotations:
    """What the arguments, the names of folders and the table say of the files."""
    table = _name_after("csv:", labels_from)
    if table is not None:
        columns = columns._replace(split=_name_after("column:", splits_from))
        found = annotate(read_table(table, columns), os.path.abspath(folder), paths)
    else:
        found = label_by_parent(paths) if labels_from else Annotations({}, {}, [])
    if splits_from == "top":
        found.splits.update(split_by_top(paths))
    elif split is not None:
        found.splits.update(dict.fromkeys(paths, split))
    return found


def _label(
    clips: Sequence[Clip], names_of: Dict[str, List[str]], descriptors: Optional[str]
) -> Tuple[List[Label], List[Clip]]:
    """The classes, and the clips with the ids of theirs."""
    if descriptors is None:
        classes = make_descriptors(name for clip in clips for name in names_of[clip.path])
    else:
        classes = read_descriptors(descriptors)
    index_of = index_labels(classes)
    labelled = []
    for clip in clips:
        names = dict.fromkeys(names_of[clip.path])  # each once
        unknown = [name for name in names if name not in index_of]
        if unknown:
            raise ValueError(
                f"{clip.path}: found the label {unknown[0]!r}, expected one of {descriptors}"
            )
        ids = tuple(classes[index_of[name]].id for name in names)
        labelled.append(clip._replace(labels=ids))
    return classes, labelled


def _split(
    clips: Sequence[Clip],
    split_of: Dict[str, str],
    classes: Optional[Sequence[Label]],
    fractions: Sequence[float],
    seed: int,
) -> Dict[str, Sequence[Clip]]:
    """The clips of each split: as annotated, and drawn from train."""
    splits = defaultdict(list)
    for clip in clips:
        splits[split_of.get(clip.path, _DRAWN[0])].append(clip)
    clips = splits.pop(_DRAWN[0], [])
    if classes and clips and any(fractions):
        index_of = {label.id: label.index for label in classes}
        classes_of = [[index_of[label_id] for label_id in clip.labels] for clip in clips]
        parts = draw_stratified_parts(classes_of, fractions, seed)
    else:
        parts = draw_parts(len(clips), fractions, seed)
    for clip, part in zip(clips, parts, strict=True):
        splits[_DRAWN[part]].append(clip)
    return splits
