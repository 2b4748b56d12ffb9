"""Decode every clip of a manifest once, and list those that can be used."""

import hashlib
import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

import numpy as np

from eat.files import replace_file
from eat.work import Failure, map_in_threads

from .headers import Clip
from .manifest import Manifest
from .split import open_split, split_of
from .writing import refuse_to_replace, write_data_set

LEFT_OUT, CORRECTED, KEPT = "left out", "corrected", "kept"  # what was done with a clip
UNKNOWN = -1


class Finding(NamedTuple):
    """The result of checking a clip."""

    clip: int
    num_samples: int  # per channel, as decoded
    action: str = ""  # "" if the clip is as the manifest says
    problem: str = ""

    @property
    def is_left_out(self) -> bool:
        return self.action == LEFT_OUT


class Check(NamedTuple):
    """The result of checking a manifest."""

    manifest: str  # the file of the clips that can be used
    report: str  # the file of all problems
    num_clips: int  # in the checked manifest
    num_resumed: int  # of these were checked by an interrupted run before
    problems: List[Finding]  # by clip

    def count(self, action: str) -> int:
        """Number of clips with which this was done."""
        return sum(finding.action == action for finding in self.problems)


class Journal:
    """The findings of a check, in a file that gets a line for each and survives a kill.

    Args:
        path: the file; if it is about another manifest, it is started anew.
        manifest: whose clips are checked.

    Attributes:
        num_samples: (N,) int64, as decoded; `UNKNOWN` for clips without a finding.
        problems: the findings with a problem, by clip.
    """

    def __init__(self, path: str, manifest: Manifest) -> None:
        self.num_samples = np.full(len(manifest), UNKNOWN)
        self.problems: Dict[int, Finding] = {}
        head = hashlib.sha256(Path(manifest.file).read_bytes()).hexdigest().encode() + b"\n"
        with open(path, "a+b") as file:
            file.seek(0)
            end = len(head) if file.readline() == head else 0
            for line in file if end else ():
                if line.endswith(b"\n"):  # else a kill cut it off
                    clip, num_samples, action, problem = os.fsdecode(line[:-1]).split("\t", 3)
                    self._keep(Finding(int(clip), int(num_samples), action, problem))
                    end += len(line)
            file.truncate(end)
            file.write(b"" if end else head)
        self._file = open(path, "ab")  # noqa: SIM115

    def add(self, finding: Finding) -> None:
        """Keep a finding and write it to the file, sooner or later."""
        self._keep(finding)
        self._file.write(os.fsencode("\t".join(map(str, finding))) + b"\n")

    def close(self) -> None:
        """Write what is not yet written."""
        self._file.close()

    def _keep(self, finding: Finding) -> None:
        self.num_samples[finding.clip] = finding.num_samples
        if finding.action:
            self.problems[finding.clip] = finding


def check_manifest(
    manifest: str,
    out: str,
    force: bool = False,
    num_workers: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
) -> Check:
    """Decode every clip of a manifest, and write the manifest without those that cannot be used.

    Clips are left out that are missing, no audio, cut off, shorter than 25 ms, listed before, or
    hold NaN or infinite samples. Wrong numbers of samples are corrected. Silent clips are kept.
    Labels beside the manifest are written likewise. `NAME.check.tsv` lists each problem: line of
    the manifest, what was done, path, problem. An interrupted check continues when it is called
    again.

    Args:
        manifest: the file.
        out: the folder to write to.
        force: replace what is there.
        num_workers: threads that decode; None: one per core.
        hdf5_rate_hz: rate of HDF5 data that has no attribute `sample_rate`.

    Raises:
        FileNotFoundError, FileExistsError: no manifest; `out` has one of this name.
        ValueError: a bad manifest or labels, `out` is its own folder, or no clip can be used.
    """
    folder, name = split_of(manifest)
    if os.path.realpath(out) == os.path.realpath(folder):
        raise ValueError(f"--out: found the folder of {manifest} itself, expected another one")
    report = os.path.join(out, f"{name}.check.tsv")
    unfinished = f"{report}.partial"
    force = force or os.path.exists(unfinished)
    refuse_to_replace(out, [name], os.path.basename(report), force)
    split = open_split(folder, name, labelled=False)  # bad labels are an error before the work
    os.makedirs(out, exist_ok=True)
    with closing(Journal(unfinished, split.manifest)) as journal:
        num_resumed = int((journal.num_samples != UNKNOWN).sum())
        _check_clips(split.manifest, journal, num_workers or os.cpu_count() or 1, hdf5_rate_hz)
    problems = [finding for _, finding in sorted(journal.problems.items())]
    _write_report(report, split.manifest, problems)
    left_out = [finding.clip for finding in problems if finding.is_left_out]
    usable = np.delete(np.arange(len(split.manifest)), left_out)
    if len(usable) == 0:
        raise ValueError(
            f"{manifest}: none of {len(left_out)} clips can be used; the reasons are in {report}"
        )
    clips = [
        Clip(
            split.manifest.relative_path(clip),
            int(journal.num_samples[clip]),
            labels=split.class_ids(clip),
        )
        for clip in usable
    ]
    write_data_set(out, split.manifest.root, {name: clips}, split.descriptors, force=force)
    os.remove(unfinished)
    written = os.path.join(out, f"{name}.tsv")
    return Check(written, report, len(split.manifest), num_resumed, problems)


def check_clip(manifest: Manifest, clip: int, hdf5_rate_hz: Optional[int] = None) -> Finding:
    """Decode a clip and compare it with the manifest."""
    from eat.audio.scanning import scan_audio

    path, listed = manifest.path(clip), manifest.clip_samples(clip)
    try:
        found = scan_audio(path, hdf5_rate_hz)
    except (ValueError, OSError) as error:
        return Finding(clip, 0, LEFT_OUT, Failure.of(path, error).reason)
    problems = []
    if found.num_samples != listed:
        problems.append(f"found {found.num_samples} samples, expected {listed} by the manifest")
    if found.is_silent:
        problems.append("silent: all samples have the same value")
    action = CORRECTED if found.num_samples != listed else KEPT if problems else ""
    return Finding(clip, found.num_samples, action, "; ".join(problems))


def _find_duplicates(manifest: Manifest) -> Iterator[Finding]:
    """The clips whose file is listed in an earlier line."""
    lines: Dict[str, int] = {}
    for clip, path in enumerate(manifest.relative_paths()):
        line = lines.setdefault(os.path.normpath(path), clip + 2)
        if line != clip + 2:
            yield Finding(clip, 0, LEFT_OUT, f"listed in line {line} before")


def _check_clips(
    manifest: Manifest, journal: Journal, num_workers: int, hdf5_rate_hz: Optional[int]
) -> None:
    for finding in _find_duplicates(manifest):
        if journal.num_samples[finding.clip] == UNKNOWN:
            journal.add(finding)
    check = partial(check_clip, manifest, hdf5_rate_hz=hdf5_rate_hz)
    todo = np.flatnonzero(journal.num_samples == UNKNOWN).tolist()
    findings = map_in_threads(
        check, todo, num_workers, "checking", failed=lambda finding: finding.is_left_out
    )
    for finding in findings:
        journal.add(finding)


def _write_report(path: str, manifest: Manifest, problems: List[Finding]) -> None:
    with replace_file(path) as file:
        for clip, _, action, problem in problems:
            fields = (str(clip + 2), action, manifest.relative_path(clip), problem)
            file.write(os.fsencode("\t".join(fields)) + b"\n")
