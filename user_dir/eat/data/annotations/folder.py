"""List audio files, with labels and splits from folder names, a table or files beside them."""

import os
from collections import defaultdict
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from eat.audio.finding import Scan, find_audio
from eat.work import Failure

from ..labels import (
    DESCRIPTORS_FILE,
    Label,
    check_name,
    index_labels,
    make_descriptors,
    read_descriptors,
    read_lines,
)
from ..sampling import draw_parts, draw_stratified_parts
from ..split import Clip, read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set
from . import FolderConfig, ListingConfig, doubts
from .companions import COMPANIONS, label_by_companion
from .matching import normal_form
from .table import Annotations, annotate, label_by_path, read_table, split_by_top

DRAWN = ("train", "valid", "eval")


def list_folder(
    folder: str,
    out: str,
    config: Optional[FolderConfig] = None,
    force: bool = False,
    num_workers: int = 16,
) -> Listing:
    """Write manifests of the audio files below a folder, at any depth; only headers are read.

    Files in tars are listed by their addresses there; labels and splits come from their paths
    `shard.tar/NAME`.

    Args:
        folder: becomes the root of the manifests; or a tar, whose folder does.
        out, force, num_workers: see `eat.data.annotations`.
        config: which files to list, and where labels and splits come from; None: no labels, 5 % of
            the clips in valid.
    """
    config = config or FolderConfig()
    config.check()
    names = [config.split] if config.split else list(DRAWN)
    left_out_file = unreadable_file(config.split)
    refuse_to_replace(out, names, left_out_file, force)
    scan = find_audio(folder, config.extensions, required=True, in_tars=True)
    found = _annotate(scan, config)
    names += sorted({*found.splits.values()} - {*names})
    refuse_to_replace(out, names, None, force)

    has_labels = config.labels_from is not None
    paths = [path for path in scan.paths if not has_labels or path in found.labels]
    clips, left_out = read_headers(scan.root, paths, num_workers, scan.members)
    left_out += found.left_out + scan.left_out
    classes = None
    if has_labels:
        classes, id_of = choose_classes({c.path: found.labels[c.path] for c in clips}, config, out)
        for index, clip in enumerate(clips):
            ids = dict.fromkeys(id_of[name] for name in found.labels[clip.path])
            clips[index] = clip._replace(labels=tuple(ids))
    splits = dict.fromkeys(names, ()) | split_clips(clips, found.splits, classes, config)
    for name, part in splits.items():
        splits[name] = [clip._replace(path=scan.address(clip.path)) for clip in part]
    root = os.path.abspath(scan.root)
    listing = write_data_set(out, root, splits, classes, left_out, left_out_file, force)
    listing.notes += found.notes
    listing.warnings += found.warnings
    if has_labels:
        del scan.other_extensions[f".{config.labels_from.partition(':')[0]}"]  # they were looked at
    listing.note_rest(scan)
    return listing


def _annotate(scan: Scan, config: FolderConfig) -> Annotations:
    """The labels and splits of files, with what else they might be."""
    folder, paths = scan.root, scan.paths
    notes, warnings = [], [*doubts.of_tars(scan)]
    kind, _, field = (config.labels_from or "").partition(":")
    if kind in COMPANIONS:
        found = label_by_companion(scan, kind, field)
    elif config.table is not None:
        rows = [*read_table(config.table, config.columns, config.encoding)]
        found = annotate(rows, os.path.abspath(folder), paths)
        found.left_out.extend(
            Failure(path, "no label") for path in paths if path not in found.labels
        )
        warnings += doubts.of_table(rows, config.columns)
    elif config.labels_from is not None:
        found = label_by_path(paths, config.labels_from)
        warnings += doubts.of_labels({name for names in found.labels.values() for name in names})
    else:
        found = Annotations({}, {}, [])
    notes += doubts.note_forms({name for names in found.labels.values() for name in names})
    found.splits.update(choose_splits(paths, config))
    if config.splits_from is None and config.split is None:
        warnings += doubts.of_draw(folder, paths)
    if config.labels_from == "parent" and config.splits_from is None:
        notes += doubts.of_parents(folder, paths, {names[0] for names in found.labels.values()})
    return found._replace(notes=[*found.notes, *notes], warnings=[*found.warnings, *warnings])


def choose_splits(paths: Sequence[str], config: ListingConfig) -> Dict[str, str]:
    """The splits of files that no table tells; none if they are to be drawn."""
    if config.splits_from == "top":
        return split_by_top(paths)
    return dict.fromkeys(paths, config.split) if config.split else {}


def choose_classes(
    names_of: Mapping[str, Sequence[str]], config: ListingConfig, out: str
) -> Tuple[List[Label], Dict[str, str]]:
    """The classes, and the id of the class of each label; its Unicode form does not matter.

    `names_of` has the labels by what has them, as messages call it.
    """
    existing = os.path.join(out, DESCRIPTORS_FILE)
    given = config.descriptors or (existing if config.split and os.path.exists(existing) else None)
    if given is None:
        for place, names in names_of.items():
            for name in names:
                check_name(name.strip(), f"{place}: ")
        names = (name for names in names_of.values() for name in names)
        classes = make_descriptors(map(normal_form, names))
    else:
        classes = _read_classes(given)
    id_of = {name: classes[index].id for name, index in index_labels(classes).items()}
    id_of = {normal_form(name): label_id for name, label_id in id_of.items()} | id_of
    for place, names in names_of.items():
        for name in names:
            label_id = id_of.setdefault(name, id_of.get(normal_form(name), ""))
            if not label_id:
                found = f"found the label {normal_form(name)!r}"
                raise ValueError(f"{place}: {found}, expected one of {given}")
    return classes, id_of


def _read_classes(path: str) -> List[Label]:
    """Classes in the format of `label_descriptors.csv`, or AudioSet's lines `id<TAB>name`."""
    pairs = [line.split("\t") for line in read_lines(path, f"label descriptors: {path}")]
    if all(len(pair) == 2 for pair in pairs):
        return [Label(index, *pair) for index, pair in enumerate(pairs)]
    return read_descriptors(path)


def split_clips(
    clips: Sequence[Clip],
    split_of: Dict[str, str],
    classes: Optional[Sequence[Label]],
    config: ListingConfig,
) -> Dict[str, Sequence[Clip]]:
    """The clips of each split, as annotated, with shares drawn from train."""
    splits = defaultdict(list)
    for clip in clips:
        splits[split_of.get(clip.path, DRAWN[0])].append(clip)
    clips = splits.pop(DRAWN[0], [])
    if classes and clips and any(config.fractions):
        index_of = {label.id: label.index for label in classes}
        # Clips without a class are as if of one more.
        classes_of = [[index_of[i] for i in clip.classes] or [len(classes)] for clip in clips]
        parts = draw_stratified_parts(classes_of, config.fractions, config.seed)
    else:
        parts = draw_parts(len(clips), config.fractions, config.seed)
    for clip, part in zip(clips, parts, strict=True):
        splits[DRAWN[part]].append(clip)
    return splits
