"""`eat manifest`: list the clips of a data set in manifests, check them, pack them."""

import os
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Iterable, List, Optional, Sequence

from eat.audio import RateConfig
from eat.data import MAX_TARGET_LENGTH
from eat.data.annotations import EventConfig, FolderConfig
from eat.features import Hdf5Option
from eat.settings import part_of

from .options import argument, option


@dataclass(kw_only=True)
class OutputOptions:
    """Where to write."""

    out: str = option("folder to write to")
    force: bool = option("replace the files of an earlier run in OUT", False)


@dataclass(kw_only=True)
class ListingOptions(OutputOptions):
    """How to list clips."""

    workers: int = option("threads, which mostly wait for the disk", 16, at_least=1)


@dataclass(kw_only=True)
class AudiosetOptions(ListingOptions):
    """List the clips of an AudioSet segment list that are there as files.

    Finds the audio of one of the published segment lists (balanced_train_segments.csv,
    unbalanced_train_segments.csv, eval_segments.csv) below a folder, at any depth, and writes
    OUT/NAME.tsv, OUT/NAME.lbl and OUT/label_descriptors.csv. The names of the files start with the
    YouTube id of the clip, in any format: ID.wav, YID.wav, ID_30.000.wav, ID_30_40.wav or
    ID_30000.flac (the start in seconds or milliseconds). Clips without a readable file are listed
    in OUT/NAME.unreadable.tsv; the exit status is then 1. Run it once for each list, with the same
    OUT.
    """

    EXAMPLE: ClassVar[str] = (
        "eat manifest audioset --segments eval_segments.csv --labels class_labels_indices.csv"
        " --audio /data/audioset --out manifests/as20k --split eval"
    )

    segments: str = option("segment list, e.g. balanced_train_segments.csv", metavar="FILE")
    labels: str = option("the published class_labels_indices.csv", metavar="FILE")
    audio: str = option("folder of the audio; becomes the manifest's root", metavar="DIR")
    split: str = option("name of the manifest: writes NAME.tsv", "train", metavar="NAME")


@dataclass(kw_only=True)
class CheckOptions(OutputOptions, Hdf5Option, RateConfig):
    """Decode every clip of a manifest once, and list those that can be used.

    OUT gets the manifest without the clips that cannot be used and with the right numbers of
    samples; if it has labels beside it, those too. OUT/NAME.check.tsv lists the problems: line of
    the manifest, what was done, path, problem. Clips are left out that are missing, no audio, cut
    off, shorter than 25 ms, listed before, or hold NaN or infinite samples. Wrong numbers of
    samples are corrected. Clips that are silent or odd are kept, also those that are silent where
    training reads them; how many there are of each kind is printed. An interrupted check continues
    when it is started again. The exit status is 1 if clips were left out.
    """

    EXAMPLE: ClassVar[str] = "eat manifest check manifests/mine/train.tsv --out manifests/clean"

    manifest: str = argument(
        "file of the manifest, e.g. manifests/mine/train.tsv", metavar="MANIFEST"
    )
    target_length: int = option(
        "frames that training takes of a clip, the setting task.target_length: a clip"
        " whose first frames are silent up to there is noted",
        MAX_TARGET_LENGTH,
        at_least=1,
        metavar="FRAMES",
    )
    workers: int = option(
        "threads that decode; by default one per core", os.cpu_count() or 1, at_least=1
    )


@dataclass(kw_only=True)
class Esc50Options(ListingOptions):
    """List the clips of ESC-50 for its five-fold cross-validation.

    Reads ESC-50 as published (DIR/meta/esc50.csv, DIR/audio). OUT/fold1 to OUT/fold5 each get a
    data set with labels: valid is the fold of that number, train the other four. Clips without a
    readable file are listed in OUT/unreadable.tsv; the exit status is then 1.
    """

    EXAMPLE: ClassVar[str] = "eat manifest esc50 /data/ESC-50-master --out manifests/esc50"

    folder: str = argument("the unpacked ESC-50, e.g. ESC-50-master", metavar="DIR")


@dataclass(kw_only=True)
class EventsOptions(EventConfig, ListingOptions):
    """List the annotated parts of recordings, from tables with starts and ends.

    Reads Raven selection tables, Audacity label tracks, AudioSet's strong labels, tables of DCASE
    and any CSV with columns of starts, ends and labels: one table for each recording, which has its
    name (dawn.Table.1.selections.txt of dawn.wav), or tables with a column of recordings. With --as
    clips each part becomes a clip with its label (dawn.wav/1.25-2.5), in OUT/train.tsv, .lbl and so
    on; with --as time recordings keep their events, in OUT/train.events.tsv. Shares for valid and
    eval are drawn by recording. Events that are empty, reversed, without a label or outside their
    recording are left out and listed with table and line in OUT/unreadable.tsv; the exit status is
    then 1.
    """

    EXAMPLE: ClassVar[str] = (
        "eat manifest events tables/*.txt --audio /data/recordings --out manifests/calls --as time"
    )

    tables: List[str] = argument("table, or a folder of tables .txt, .tsv and .csv", "TABLE")
    audio: str = option("folder of the audio; becomes the manifests' root", metavar="DIR")


@dataclass(kw_only=True)
class FolderOptions(FolderConfig, ListingOptions):
    """List the audio files below a folder.

    Lists files at any depth, and those in tars, in OUT/train.tsv and OUT/valid.tsv. Only their
    headers are read. Files that are not readable as audio or hold no samples are left out and
    listed with the reason in OUT/unreadable.tsv; the exit status is then 1. Links to folders are
    followed, and each folder is listed once. The same files, fractions and seed give the same
    manifests. With --labels-from the labels are written too, to OUT/train.lbl, OUT/valid.lbl and
    OUT/label_descriptors.csv, and each class has its share in each split.
    """

    EXAMPLE: ClassVar[str] = (
        "eat manifest folder /data/recordings --out manifests/mine --labels-from parent"
    )

    folder: str = argument("the folder; becomes the manifests' root. Or a tar in it", metavar="DIR")


@dataclass(kw_only=True)
class PackOptions(ListingOptions):
    """Put the clips of a manifest into few large files.

    File systems serve packs (uncompressed zips of a few gigabytes) much faster than millions of
    small files. OUT/NAME.tsv lists the clips in the packs, with the labels if there are any. Packs
    and manifest can be moved together. Every clip is read back from its pack and compared before
    the pack counts. An interrupted run goes on after the last complete pack when it is started
    again. Clips that cannot be read are left out and listed with the reason in
    OUT/NAME.unreadable.tsv; the exit status is then 1.
    """

    EXAMPLE: ClassVar[str] = "eat manifest pack manifests/mine/train.tsv --out manifests/packed"

    manifest: str = argument(
        "file of the manifest, e.g. manifests/mine/train.tsv", metavar="MANIFEST"
    )
    pack_gb: float = option("size at which a pack is full", 2.0, at_least=0, metavar="GB")


@dataclass(kw_only=True)
class SpeechCommandsOptions(ListingOptions):
    """List the clips of Speech Commands v2 with its published splits.

    Reads the data set as published (a folder for each word, validation_list.txt, testing_list.txt)
    and writes OUT/train.tsv, valid.tsv and eval.tsv, the .lbl files and label_descriptors.csv.
    Folders whose name starts with an underscore (_background_noise_) are no words. If a list is not
    there, the published rule takes its place: a hash of the speaker in the name of the file
    decides. Files that cannot be read are listed in OUT/unreadable.tsv; the exit status is then 1.
    """

    EXAMPLE: ClassVar[str] = (
        "eat manifest speech-commands /data/speech_commands_v0.02 --out manifests/spcv2"
    )

    folder: str = argument("the unpacked Speech Commands v2", metavar="DIR")
    test: Optional[str] = option(
        "another folder of words, whose files are for evaluation, if a copy keeps them apart",
        None,
        metavar="DIR",
    )


def _list(name: str, options: Any, config_class: Any = None) -> int:
    """Call `eat.data.annotations.{name}` and print what it listed; 1 if inputs were left out."""
    from eat.data import annotations

    given = _arguments(options)
    if config_class is not None:
        config = part_of(config_class, options)
        given = {key: given[key] for key in given.keys() - vars(config)} | {"config": config}
    return _print_listing(getattr(annotations, name)(**given))


def _check(options: CheckOptions) -> int:
    from eat.data.checking import LEFT_OUT, check_manifest

    check = check_manifest(**_arguments(options))
    if check.num_resumed:
        print(f"{check.num_resumed} of {check.num_clips} clips were checked by an earlier run")
    print(f"{check.manifest}: {check.num_clips - check.counts[LEFT_OUT]} clips")
    for what, count in sorted(check.counts.items(), reverse=True):
        print(f"{count} {what}", file=sys.stderr)
    if check.problems:
        print(f"listed in {check.report}", file=sys.stderr)
    return 1 if check.counts[LEFT_OUT] else 0


def _pack(options: PackOptions) -> int:
    from eat.data.packing import pack_manifest

    packs = pack_manifest(**_arguments(options))
    print(
        f"{packs.manifest}: {packs.num_clips} clips in {len(packs.paths)} packs,"
        f" {packs.num_bytes / 1e9:.2f} GB; {len(packs.left_out)} left out"
    )
    return 1 if packs.left_out else 0


ACTIONS = {
    "audioset": (AudiosetOptions, partial(_list, "list_audioset")),
    "check": (CheckOptions, _check),
    "esc50": (Esc50Options, partial(_list, "list_esc50")),
    "events": (EventsOptions, partial(_list, "list_events", config_class=EventConfig)),
    "folder": (FolderOptions, partial(_list, "list_folder", config_class=FolderConfig)),
    "pack": (PackOptions, _pack),
    "speech-commands": (SpeechCommandsOptions, partial(_list, "list_speech_commands")),
}


def _arguments(options: Any) -> dict:
    """The options as arguments of the library."""
    given = dict(vars(options))
    given["num_workers"] = given.pop("workers")
    return given


def _print_listing(listing: Any) -> int:
    """Print how many clips there are, and what was left out; 1 if something was."""
    for note in listing.notes:
        print(note)
    splits = {name: clips for name, clips in listing.splits.items() if clips}
    for name, clips in splits.items():
        hours = sum(clip.num_samples / clip.sample_rate_hz for clip in clips) / 3600
        print(f"{os.path.join(listing.folder, name)}.tsv: {len(clips)} clips, {hours:.2f} hours")
        if listing.descriptors is not None:
            _print_classes(clips, listing.descriptors)
    # A clip of a cross-validation is in several splits.
    clips = dict.fromkeys(clip for clips in splits.values() for clip in clips)
    if listing.descriptors is not None:
        print(f"clips per class: {_name_classes(clips, listing.descriptors)}")
    print(f"sample rates: {_count(f'{clip.sample_rate_hz} Hz' for clip in clips)}")
    print(f"channels: {_count(clip.num_channels for clip in clips)}")
    print(f"next: eat stats {os.path.join(listing.folder, next(iter(splits)))}.tsv")
    for warning in listing.warnings:
        print(warning, file=sys.stderr)
    if listing.left_out:
        name, reason = listing.left_out[0]
        print(
            f"left out {len(listing.left_out)} inputs, listed in {listing.left_out_file};"
            f" the first is {name!r}: {reason}",
            file=sys.stderr,
        )
    return 1 if listing.left_out else 0


def _print_classes(clips: Sequence[Any], descriptors: Sequence[Any]) -> None:
    counts = Counter(label for clip in clips for label in clip.classes)
    sizes = [counts[label.id] for label in descriptors]
    print(
        f"  {len(sizes)} classes with {min(sizes)} to {max(sizes)} clips,"
        f" {sum(sizes) / len(clips):.3g} classes per clip"
    )
    absent = [label.name for label in descriptors if not counts[label.id]]
    if absent:
        more = ", ..." if len(absent) > 10 else ""
        print(f"  {len(absent)} classes without a clip: {', '.join(absent[:10])}{more}")


def _name_classes(clips: Iterable[Any], descriptors: Sequence[Any]) -> str:
    """The classes with their numbers of clips; of more than 20 the largest 10 and smallest 5."""
    counts = Counter(label for clip in clips for label in clip.classes)
    in_order = sorted(descriptors, key=lambda label: -counts[label.id])
    names = [f"{label.name} ({counts[label.id]})" for label in in_order]
    if len(names) > 20:
        names[10:-5] = [f"... {len(names) - 15} more ..."]
    return ", ".join(names)


def _count(values: Any) -> str:
    return ", ".join(f"{value} ({count} clips)" for value, count in Counter(values).most_common())
