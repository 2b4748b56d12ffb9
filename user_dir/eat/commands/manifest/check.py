"""`eat manifest check`: decode every clip once, and keep those that can be used."""

import argparse
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence

import numpy as np

from eat.data.headers import Clip
from eat.data.journal import UNKNOWN, Finding, Journal
from eat.data.labels import DESCRIPTORS_FILE, read_descriptors, read_labels
from eat.data.manifest import Manifest
from eat.files import replace_file
from eat.work import map_in_threads

from ..arguments import whole_number
from .output import ClipLabels, check_output, split_files, write_splits

HELP = "decode every clip of a manifest once, and list those that can be used"

DESCRIPTION = """\
Decode every clip of a manifest from its start to its end. OUT gets the manifest without the clips
that cannot be used and with the right numbers of samples; if it has labels beside it, those too.
OUT/NAME.check.tsv says what is wrong with which clip: line of the manifest, what was done, path,
problem. Clips are left out that are missing, no audio, cut off, shorter than 25 ms, listed before,
or hold NaN or infinite samples; another number of samples is corrected; silent clips are kept. An
interrupted check continues when it is started again. The exit status is 1 if clips were left out.
"""

LEFT_OUT, CORRECTED, KEPT = "left out", "corrected", "kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest check`."""
    parser.description = DESCRIPTION
    parser.add_argument("manifest", metavar="MANIFEST", help="e.g. manifests/mine/train.tsv")
    parser.add_argument("--out", required=True, help="folder to write to, e.g. manifests/clean")
    parser.add_argument("--force", action="store_true", help="replace what is in OUT")
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=os.cpu_count() or 1,
        help="threads that decode (default: one per core, %(default)s)",
    )
    parser.add_argument(
        "--hdf5-rate-hz",
        type=whole_number(1),
        help="sample rate of clips in HDF5 packs that have no attribute sample_rate",
    )


def run(args: argparse.Namespace) -> int:
    """Check a manifest; 1 if clips were left out."""
    manifest = Manifest(args.manifest)
    if os.path.realpath(args.out) == os.path.realpath(os.path.dirname(manifest.file)):
        raise ValueError(f"--out: found the folder of {manifest.file} itself, expected another one")
    name = Path(manifest.file).stem
    report = f"{name}.check.tsv"
    partial_report = os.path.join(args.out, f"{report}.partial")
    force = args.force or os.path.exists(partial_report)
    check_output(args.out, [*split_files([name]), report], force)
    _read_labels(manifest, ())  # rather an error now than after hours
    os.makedirs(args.out, exist_ok=True)
    journal = Journal(partial_report, manifest)
    try:
        _check_clips(manifest, journal, args.workers, args.hdf5_rate_hz)
    finally:
        journal.close()
    _write_report(os.path.join(args.out, report), manifest, journal)
    usable = _usable(journal)
    if len(usable) == 0:
        raise ValueError(
            f"{manifest.file}: none of {len(manifest)} clips can be used; the reasons are in"
            f" {os.path.join(args.out, report)}"
        )
    clips = [Clip(manifest.relative_path(c), int(journal.num_samples[c]), 0, 0) for c in usable]
    labels = _read_labels(manifest, usable)
    write_splits(args.out, manifest.root, {name: clips}, labels, force)
    journal.remove()
    _print_totals(args.out, name, len(clips), journal)
    return 1 if len(clips) < len(manifest) else 0


def check_clip(manifest: Manifest, clip: int, hdf5_rate_hz: Optional[int] = None) -> Finding:
    """Decode a clip and compare it with the manifest."""
    from eat.audio import scan_audio

    path, listed = manifest.path(clip), manifest.clip_samples(clip)
    try:
        found = scan_audio(path, hdf5_rate_hz)
    except (ValueError, OSError) as error:
        return Finding(clip, 0, LEFT_OUT, " ".join(str(error).removeprefix(f"{path}: ").split()))
    problems = []
    if found.num_samples != listed:
        problems.append(f"found {found.num_samples} samples, expected {listed} by the manifest")
    if found.is_silent:
        problems.append("silent: all samples have the same value")
    action = CORRECTED if found.num_samples != listed else KEPT if problems else ""
    return Finding(clip, found.num_samples, action, "; ".join(problems))


def find_duplicates(manifest: Manifest) -> Iterator[Finding]:
    """The clips whose file is listed in an earlier line."""
    lines: Dict[str, int] = {}
    for clip, path in enumerate(manifest.relative_paths()):
        line = lines.setdefault(os.path.normpath(path), clip + 2)
        if line != clip + 2:
            yield Finding(clip, 0, LEFT_OUT, f"listed in line {line} before")


def _check_clips(
    manifest: Manifest, journal: Journal, num_workers: int, hdf5_rate_hz: Optional[int]
) -> None:
    if journal.num_done:
        print(f"continuing after {journal.num_done} of {len(manifest)} clips")
    for finding in find_duplicates(manifest):
        if journal.num_samples[finding.clip] == UNKNOWN:
            journal.add(finding)
    check = partial(check_clip, manifest, hdf5_rate_hz=hdf5_rate_hz)
    todo = np.flatnonzero(journal.num_samples == UNKNOWN).tolist()
    for finding in map_in_threads(check, todo, num_workers, "checking", failed=_is_left_out):
        journal.add(finding)


def _is_left_out(finding: Finding) -> bool:
    return finding.action == LEFT_OUT


def _usable(journal: Journal) -> np.ndarray:
    """The clips that are kept, in order."""
    left_out = [clip for clip, finding in journal.problems.items() if _is_left_out(finding)]
    return np.delete(np.arange(len(journal.num_samples)), left_out)


def _read_labels(manifest: Manifest, clips: Sequence[int]) -> Optional[ClipLabels]:
    """The labels of some clips; None if there is no label file beside the manifest."""
    path = Path(manifest.file).with_suffix(".lbl")
    if not path.exists():
        return None
    descriptors_file = path.parent / DESCRIPTORS_FILE
    descriptors = read_descriptors(descriptors_file)
    table = read_labels(path, manifest, descriptors, descriptors_file)
    ids = {
        manifest.relative_path(clip): [descriptors[index].id for index in table.classes(clip)]
        for clip in clips
    }
    return ClipLabels(descriptors, ids)


def _write_report(path: str, manifest: Manifest, journal: Journal) -> None:
    with replace_file(path) as file:
        for clip, finding in sorted(journal.problems.items()):
            fields = (str(clip + 2), finding.action, manifest.relative_path(clip), finding.problem)
            file.write(os.fsencode("\t".join(fields)) + b"\n")


def _print_totals(out: str, name: str, num_kept: int, journal: Journal) -> None:
    actions = Counter(finding.action for finding in journal.problems.values())
    print(f"{os.path.join(out, name)}.tsv: {num_kept} clips")
    for action, what in (
        (LEFT_OUT, "left out"),
        (CORRECTED, "with another number of samples than the manifest said"),
        (KEPT, "silent, kept"),
    ):
        if actions[action]:
            print(f"{actions[action]} {what}", file=sys.stderr)
    if journal.problems:
        print(f"listed in {os.path.join(out, name)}.check.tsv", file=sys.stderr)
