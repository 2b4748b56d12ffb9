"""Decode every clip of a manifest once, and list those that can be used."""

import hashlib
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from eat.files import lock_file, replace_file
from eat.work import Failure, map_in_threads

from . import MAX_TARGET_LENGTH
from .manifest import Manifest
from .writing import open_to_rewrite, write_data_set

LEFT_OUT, CORRECTED, KEPT = "left out", "corrected", "kept"  # what was done with a clip
_WRONG_LENGTH = "another number of samples than the manifest says"


class Finding(NamedTuple):
    """The result of checking a clip."""

    clip: int
    num_samples: int  # per channel, as decoded
    action: str = ""  # "" if the clip is as the manifest says
    problems: Tuple[str, ...] = ()  # each `kind: details`, or a kind alone


class Check(NamedTuple):
    """The result of checking a manifest."""

    manifest: str  # the file that lists the clips that can be used
    report: str  # the file that lists the problems
    num_clips: int  # in the checked manifest
    num_resumed: int  # checked by an interrupted run before
    problems: List[Finding]

    @property
    def counts(self) -> Counter:
        """How many clips were left out, corrected, and kept in spite of which kind of problem."""
        counts = Counter(finding.action for finding in self.problems if finding.action == LEFT_OUT)
        for finding in self.problems:
            for problem in finding.problems if finding.action != LEFT_OUT else ():
                kind = problem.partition(":")[0]
                counts[f"{CORRECTED if kind == _WRONG_LENGTH else KEPT}: {kind}"] += 1
        return counts


def check_manifest(
    manifest: str,
    out: str,
    force: bool = False,
    num_workers: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
    target_length: int = MAX_TARGET_LENGTH,
    **rates: Any,
) -> Check:
    """Decode every clip of a manifest; write the manifest and labels of those that can be used.

    Clips are left out that are missing, no audio, cut off, shorter than 25 ms, listed before, or
    hold NaN or infinite samples. Wrong numbers of samples are corrected. Silent or odd clips are
    kept, also those that are silent in the first `target_length` frames, which training takes.
    `NAME.check.tsv` in `out` lists the problems: line of the manifest, action, path, problem.
    An interrupted check continues when it is called again. `rates` are fields of `RateConfig`, with
    other defaults than which 25 ms and frames of 10 ms are other spans of time.

    Raises:
        FileExistsError: `out` has a manifest of this name, without `force`.
        ValueError: a bad manifest or labels, `out` is its own folder, or no clip can be used.
        eat.files.InUseError: another process does the same.
    """
    from eat.audio import LogMel

    log_mel = LogMel(target_length=target_length, **rates)
    name = Path(manifest).stem
    report = os.path.join(out, f"{name}.check.tsv")
    force = os.path.exists(journal := f"{report}.partial") or force
    split = open_to_rewrite(manifest, out, os.path.basename(report), force)
    with lock_file(f"{report}.lock"):
        listed = split.manifest
        findings = read_journal(journal, listed, log_mel, hdf5_rate_hz)
        num_resumed = len(findings)
        check = partial(check_clip, listed, log_mel=log_mel, hdf5_rate_hz=hdf5_rate_hz)
        with open(journal, "ab") as file:
            for finding in _check_clips(listed, findings, num_workers, check):
                findings[finding.clip] = finding
                file.write(_join(*finding[:3], *finding.problems))
        in_order = [findings[clip] for clip in range(len(listed))]
        problems = [finding for finding in in_order if finding.action]
        _write_report(report, listed, problems)
        used = (one for one in in_order if one.action != LEFT_OUT)
        clips = [split.clip(one.clip)._replace(num_samples=one.num_samples) for one in used]
        if not clips:
            os.truncate(journal, 0)  # the next run checks all: a disk may be mounted then
            raise ValueError(f"{manifest}: no clip can be used; the reasons are in {report}")
        write_data_set(out, listed.root, {name: clips}, split.descriptors, force=force)
        os.remove(journal)
        return Check(os.path.join(out, f"{name}.tsv"), report, len(listed), num_resumed, problems)


def _write_report(path: str, listed: Manifest, problems: Sequence[Finding]) -> None:
    with replace_file(path) as file:
        for clip, _, action, found in problems:
            file.write(_join(clip + 2, action, listed.relative_path(clip), "; ".join(found)))


def read_journal(path: str, manifest: Manifest, *used: Any) -> Dict[int, Finding]:
    """Read the findings of an interrupted check by clip, and make its file fit to go on with.

    The file has a line for each finding after one with a hash of the manifest and `used`, the front
    end and what else matters; if they are others, or there is no file, it is started anew.
    """
    digest = hashlib.sha256(Path(manifest.file).read_bytes()).hexdigest()
    head = f"{' '.join(map(str, (digest, *used)))}\n".encode()
    lines = Path(path).read_bytes().splitlines(keepends=True) if os.path.exists(path) else []
    lines = lines[1:] if lines and lines[0] == head else []
    lines = [line for line in lines if line.endswith(b"\n")]  # a kill may have cut off the last
    with replace_file(path) as file:
        file.writelines([head, *lines])
    findings = {}
    for line in lines:
        clip, num_samples, action, *problems = os.fsdecode(line[:-1]).split("\t")
        findings[int(clip)] = Finding(int(clip), int(num_samples), action, tuple(problems))
    return findings


def check_clip(
    manifest: Manifest, clip: int, log_mel: Any, hdf5_rate_hz: Optional[int] = None
) -> Finding:
    """Decode a clip, as the front end `log_mel` uses it, and compare it with the manifest."""
    from eat.audio import scan_audio

    path, listed = manifest.path(clip), manifest.clip_samples(clip)
    try:
        found = scan_audio(path, hdf5_rate_hz, log_mel)
    except (ValueError, OSError) as error:
        return Finding(clip, 0, LEFT_OUT, (Failure.of(path, error).reason,))
    problems = []
    if found.num_samples != listed:
        problems.append(f"{_WRONG_LENGTH}: found {found.num_samples}, expected {listed}")
    if found.is_silent:
        problems.append("silent: all samples have the same value")
    problems += found.notes
    action = CORRECTED if found.num_samples != listed else KEPT if problems else ""
    return Finding(clip, found.num_samples, action, tuple(problems))


def _check_clips(
    manifest: Manifest,
    known: Dict[int, Finding],
    workers: Optional[int],
    check: Callable[[int], Finding],
) -> Iterator[Finding]:
    """Check the clips that are not known yet; each file is decoded once."""
    line_of: Dict[str, int] = {}
    to_decode = []
    for clip, path in enumerate(manifest.relative_paths()):
        line = line_of.setdefault(os.path.normpath(path), clip + 2)
        if clip not in known and line == clip + 2:
            to_decode.append(clip)
        elif clip not in known:
            yield Finding(clip, 0, LEFT_OUT, (f"listed in line {line} before",))
    workers = workers or os.cpu_count() or 1
    yield from map_in_threads(
        check, to_decode, workers, "checking", failed=lambda found: found.action == LEFT_OUT
    )


def _join(*fields: object) -> bytes:
    """A line of fields with tabs between them."""
    return os.fsencode("\t".join(map(str, fields)) + "\n")
