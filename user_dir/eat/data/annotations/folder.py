"""List the audio files below a folder, with labels and splits from folder names or a table."""

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from eat.audio.finding import EXTENSIONS, count_extensions, find_audio

from ..headers import Clip, read_headers
from ..labels import DESCRIPTORS_FILE, Label, index_labels, make_descriptors, read_descriptors
from ..sampling import draw_parts, draw_stratified_parts
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set
from .table import Annotations, Columns, annotate, label_by_parent, read_table, split_by_top

PARENT, TABLE = LABEL_SOURCES = ("parent", "csv:")
TOP, COLUMN = SPLIT_SOURCES = ("top", "column:")
VALID_FRACTION = 0.05
_DRAWN = ("train", "valid", "eval")


@dataclass(kw_only=True)
class FolderConfig:
    """Which files of a folder to list, and where their labels and splits come from."""

    extensions: Sequence[str] = EXTENSIONS  # of the files, in any case
    labels_from: Optional[str] = None  # "parent": the folder of a file; "csv:FILE": a table
    clip_column: Optional[str] = None  # of the table, see `Columns`
    label_column: Optional[str] = None
    label_separator: Optional[str] = None
    # A label_descriptors.csv with the classes. None: all labels found, in alphabetical order; with
    # `split` those that the output folder has.
    descriptors: Optional[str] = None
    splits_from: Optional[str] = None  # "top": topmost folders; "column:NAME": of the table
    split: Optional[str] = None  # lists all clips in this one
    # Shares that are drawn from train, class by class if there are labels. The same files, shares
    # and seed give the same draw. None: 0.05, or 0 if the splits are given.
    valid_fraction: Optional[float] = None
    eval_fraction: float = 0.0
    seed: int = 1

    @property
    def table(self) -> Optional[str]:
        """The file of the table."""
        return _name_after(TABLE, self.labels_from)

    @property
    def columns(self) -> Columns:
        """The columns of the table."""
        split = _name_after(COLUMN, self.splits_from)
        return Columns(self.clip_column, self.label_column, self.label_separator, split)

    @property
    def fractions(self) -> List[float]:
        """The shares of valid and eval."""
        valid = self.valid_fraction
        if valid is None:
            valid = 0.0 if self.splits_from or self.split else VALID_FRACTION
        return [valid, self.eval_fraction]

    def check(self) -> None:
        """Refuse settings that are impossible or do not go together."""
        for sources, source in (
            (LABEL_SOURCES, self.labels_from),
            (SPLIT_SOURCES, self.splits_from),
        ):
            if source is not None:
                check_source(sources, source)
        options = ("--clip-column", "--label-column", "--label-separator")
        options += ("--splits-from column:NAME",)
        for option, value in zip(options, self.columns, strict=True):
            if value is not None and self.table is None:
                raise ValueError(f"{option}: found no table, expected --labels-from csv:FILE")
        if self.descriptors is not None and self.labels_from is None:
            raise ValueError("--descriptors: found no labels, expected --labels-from")
        if self.split is not None and (self.splits_from or any(self.fractions)):
            other = "--splits-from" if self.splits_from else "a share for another split"
            raise ValueError(f"--split: found {other} too, expected one or the other")
        if sum(self.fractions) >= 1:
            raise ValueError(
                f"--valid-fraction and --eval-fraction: found {sum(self.fractions):g} together,"
                " expected less than 1"
            )


def list_folder(
    folder: str,
    out: str,
    config: Optional[FolderConfig] = None,
    force: bool = False,
    num_workers: int = 16,
) -> Listing:
    """Write manifests of the audio files below a folder, at any depth; only headers are read.

    Args:
        folder: becomes the root of the manifests.
        out, force, num_workers: see `eat.data.annotations`.
        config: which files to list, and where labels and splits come from; None: no labels, 5 % of
            the clips in valid.
    """
    config = FolderConfig() if config is None else config
    config.check()
    names = [config.split] if config.split else list(_DRAWN)
    left_out_file = unreadable_file(config.split)
    refuse_to_replace(out, names, left_out_file, force)
    scan = find_audio(folder, config.extensions, required=True)
    found = _annotate(folder, scan.paths, config)
    names += sorted({*found.splits.values()} - {*names})
    refuse_to_replace(out, names, None, force)

    has_labels = config.labels_from is not None
    paths = [path for path in scan.paths if not has_labels or path in found.labels]
    clips, left_out = read_headers(folder, paths, num_workers)
    left_out += found.left_out + scan.left_out
    classes, clips = _label(clips, found.labels, config, out) if has_labels else (None, clips)
    splits = dict.fromkeys(names, ()) | _split(clips, found.splits, classes, config)
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


def _name_after(kind: str, source: Optional[str]) -> Optional[str]:
    """The file or column that a source names."""
    return source.removeprefix(kind) if source and source.startswith(kind) else None


def _annotate(folder: str, paths: Sequence[str], config: FolderConfig) -> Annotations:
    """What the settings, the names of folders and the table say of the files."""
    if config.table is not None:
        rows = read_table(config.table, config.columns)
        found = annotate(rows, os.path.abspath(folder), paths)
    else:
        found = label_by_parent(paths) if config.labels_from else Annotations({}, {}, [])
    if config.splits_from == TOP:
        found.splits.update(split_by_top(paths))
    elif config.split is not None:
        found.splits.update(dict.fromkeys(paths, config.split))
    return found


def _label(
    clips: Sequence[Clip], names_of: Dict[str, List[str]], config: FolderConfig, out: str
) -> Tuple[List[Label], List[Clip]]:
    """The classes, and the clips with the ids of theirs."""
    existing = os.path.join(out, DESCRIPTORS_FILE)
    given = config.descriptors or (existing if config.split and os.path.exists(existing) else None)
    if given is None:
        classes = make_descriptors(name for clip in clips for name in names_of[clip.path])
    else:
        classes = read_descriptors(given)
    index_of = index_labels(classes)
    labelled = []
    for clip in clips:
        names = dict.fromkeys(names_of[clip.path])  # each once
        unknown = [name for name in names if name not in index_of]
        if unknown:
            raise ValueError(
                f"{clip.path}: found the label {unknown[0]!r}, expected one of {given}"
            )
        labels = tuple(classes[index_of[name]].id for name in names)
        labelled.append(clip._replace(labels=labels))
    return classes, labelled


def _split(
    clips: Sequence[Clip],
    split_of: Dict[str, str],
    classes: Optional[Sequence[Label]],
    config: FolderConfig,
) -> Dict[str, Sequence[Clip]]:
    """The clips of each split, as annotated, with shares drawn from train."""
    splits = defaultdict(list)
    for clip in clips:
        splits[split_of.get(clip.path, _DRAWN[0])].append(clip)
    clips = splits.pop(_DRAWN[0], [])
    if classes and clips and any(config.fractions):
        index_of = {label.id: label.index for label in classes}
        classes_of = [[index_of[label] for label in clip.labels] for clip in clips]
        parts = draw_stratified_parts(classes_of, config.fractions, config.seed)
    else:
        parts = draw_parts(len(clips), config.fractions, config.seed)
    for clip, part in zip(clips, parts, strict=True):
        splits[_DRAWN[part]].append(clip)
    return splits
