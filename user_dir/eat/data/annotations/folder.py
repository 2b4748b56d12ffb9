"""List the audio files below a folder, with labels and splits from folder names or a table."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Dict, List, Optional, Sequence, Tuple

from eat.audio.finding import EXTENSIONS, find_audio
from eat.settings import setting

from ..labels import (
    DESCRIPTORS_FILE,
    Label,
    check_name,
    index_labels,
    make_descriptors,
    read_descriptors,
)
from ..sampling import draw_parts, draw_stratified_parts
from ..split import Clip, read_headers
from ..writing import Listing, refuse_to_replace, unreadable_file, write_data_set
from .doubts import Tops, doubt_labels, doubt_table, note_forms
from .matching import normal_form
from .table import (
    CLIP_COLUMNS,
    LABEL_COLUMNS,
    LABELS_COLUMNS,
    Annotations,
    Columns,
    annotate,
    label_by_path,
    read_table,
    split_by_top,
)

VALID_FRACTION = 0.05
_DRAWN = ("train", "valid", "eval")
_LABEL_SOURCES = ("parent", "top", "csv:FILE", "regex:PATTERN")
_SPLIT_SOURCES = ("top", "column:NAME")


def _check_source(sources: Sequence[str], text: str) -> str:
    """Return a source of labels or splits as it is, or raise a ValueError if it is impossible."""
    kind, colon, name = text.partition(":")
    for source in sources:
        if (kind, colon, bool(name)) == (*source.partition(":")[:2], ":" in source):
            return text
    raise ValueError(f"found {text!r}, expected {', '.join(sources[:-1])} or {sources[-1]}")


def _check_labels_from(text: str) -> str:
    if text.startswith("regex:"):
        try:
            re.compile(text.partition(":")[2])
        except re.error as error:
            raise ValueError(f"found {text!r}, no regular expression: {error}") from error
    return _check_source(_LABEL_SOURCES, text)


def _check_encoding(name: str) -> str:
    try:
        "x".encode(name)
    except LookupError:
        raise ValueError(f"found {name!r}, expected an encoding such as latin-1") from None
    return name


@dataclass(kw_only=True)
class FolderConfig:
    """Which files of a folder to list, and where their labels and splits come from."""

    extensions: List[str] = setting(
        "file name extensions to look for, in any case", EXTENSIONS, metavar="EXT"
    )
    labels_from: Optional[str] = setting(
        "where labels come from. parent: the folder that a file is in is its label; top: its"
        " topmost folder below DIR; csv:FILE: a table with a header line and a row for each file,"
        " or for each of its labels; regex:PATTERN: what each of the pattern's parentheses matches"
        " in the path below DIR",
        None,
        metavar="|".join(_LABEL_SOURCES),
        parse=_check_labels_from,
    )
    clip_column: Optional[str] = setting(
        "column of the table with the names of files. Not given: the one called"
        f" {' or '.join(CLIP_COLUMNS)}",
        None,
        metavar="NAME",
    )
    label_column: Optional[str] = setting(
        f"column of the table with the labels. Not given: {' or '.join(LABEL_COLUMNS)} for one"
        f" label, {' or '.join(LABELS_COLUMNS)} for several with commas between them",
        None,
        metavar="NAME",
    )
    label_separator: Optional[str] = setting(
        "what separates the labels in a cell of the table; an empty text: a cell is one label",
        None,
        metavar="TEXT",
    )
    encoding: Optional[str] = setting(
        "encoding of the table, such as latin-1 or utf-16. Not given: UTF-8",
        None,
        metavar="NAME",
        parse=_check_encoding,
    )
    descriptors: Optional[str] = setting(
        "a label_descriptors.csv with the classes and their order. Not given: all labels that were"
        " found, in alphabetical order",
        None,
        metavar="FILE",
    )
    valid_fraction: Optional[float] = setting(
        "share of the clips drawn at random for valid.tsv: at least one clip if there are two, and"
        f" with 0 no valid.tsv. Not given: {VALID_FRACTION}, or 0 with --splits-from or --split",
        None,
        at_least=0,
        below=1,
        metavar="SHARE",
    )
    eval_fraction: float = setting(
        "share of the clips drawn at random for eval.tsv", 0.0, at_least=0, below=1, metavar="SHARE"
    )
    seed: int = setting("seed of the draw of valid.tsv and eval.tsv", 1, at_least=0)
    splits_from: Optional[str] = setting(
        "take the splits as they are. top: from the topmost folders below DIR (train/..., test/...)"
        "; column:NAME: from a column of the table. Shares, if given, are drawn from train",
        None,
        metavar="|".join(_SPLIT_SOURCES),
        parse=partial(_check_source, _SPLIT_SOURCES),
    )
    split: Optional[str] = setting(
        "list all clips in NAME.tsv; their labels must then be among the classes that OUT has",
        None,
        metavar="NAME",
    )

    @property
    def table(self) -> Optional[str]:
        """The file of the table."""
        kind, _, file = (self.labels_from or "").partition(":")
        return file if kind == "csv" else None

    @property
    def columns(self) -> Columns:
        """The columns of the table."""
        split = (self.splits_from or "").partition(":")[2] or None
        return Columns(self.clip_column, self.label_column, self.label_separator, split)

    @property
    def fractions(self) -> List[float]:
        """The shares of valid and eval."""
        is_given = self.splits_from or self.split
        valid = 0.0 if is_given else VALID_FRACTION
        return [valid if self.valid_fraction is None else self.valid_fraction, self.eval_fraction]

    def check(self) -> None:
        """Refuse settings that are impossible or do not go together."""
        if self.labels_from is not None:
            _check_labels_from(self.labels_from)
        if self.splits_from is not None:
            _check_source(_SPLIT_SOURCES, self.splits_from)
        if self.encoding is not None:
            _check_encoding(self.encoding)
        options = ("clip-column", "label-column", "label-separator", "splits-from column:NAME")
        given = zip((*options, "encoding"), (*self.columns, self.encoding), strict=True)
        for option, value in given:
            if value is not None and self.table is None:
                raise ValueError(f"--{option}: found no table, expected --labels-from csv:FILE")
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
    listing.notes += found.notes
    listing.warnings += found.warnings
    listing.note_rest(scan)
    return listing


def _annotate(folder: str, paths: Sequence[str], config: FolderConfig) -> Annotations:
    """The labels and splits of files, with what else they might be."""
    notes, warnings = [], []
    if config.table is not None:
        rows = [*read_table(config.table, config.columns, config.encoding)]
        found = annotate(rows, os.path.abspath(folder), paths)
        warnings += doubt_table(rows, config.columns)
    elif config.labels_from is not None:
        found = label_by_path(paths, config.labels_from)
        warnings += doubt_labels({name for names in found.labels.values() for name in names})
    else:
        found = Annotations({}, {}, [])
    notes += note_forms({name for names in found.labels.values() for name in names})
    tops = Tops(folder, paths)
    if config.splits_from == "top":
        found.splits.update(split_by_top(paths))
    elif config.split is not None:
        found.splits.update(dict.fromkeys(paths, config.split))
    elif config.splits_from is None:
        warnings += tops.doubt_draw()
    if config.labels_from == "parent" and config.splits_from is None:
        notes += tops.doubt_parents({names[0] for names in found.labels.values()})
    return found._replace(notes=[*found.notes, *notes], warnings=[*found.warnings, *warnings])


def _label(
    clips: Sequence[Clip], names_of: Dict[str, List[str]], config: FolderConfig, out: str
) -> Tuple[List[Label], List[Clip]]:
    """The classes, and the clips with the ids of theirs; Unicode forms of names do not matter."""
    existing = os.path.join(out, DESCRIPTORS_FILE)
    given = config.descriptors or (existing if config.split and os.path.exists(existing) else None)
    if given is None:
        for clip in clips:
            for name in names_of[clip.path]:
                check_name(name.strip(), f"{clip.path}: ")
        names = (name for clip in clips for name in names_of[clip.path])
        classes = make_descriptors(map(normal_form, names))
    else:
        classes = read_descriptors(given)
    index_of = index_labels(classes)
    index_of = {normal_form(name): index for name, index in index_of.items()} | index_of
    labelled = []
    for clip in clips:
        names = names_of[clip.path]
        names = dict.fromkeys(n if n in index_of else normal_form(n) for n in names)  # each once
        for name in names:
            if name not in index_of:
                raise ValueError(f"{clip.path}: found the label {name!r}, expected one of {given}")
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
