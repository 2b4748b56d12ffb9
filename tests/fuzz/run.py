"""Read many damaged files: each must be read, or refused with an error that names it.

    PYTHONPATH=tests python -m fuzz.run --parsers 100000 --audio 10000 --checkpoints 10000 \\
        --safetensors 3000

Cases run in a process of their own, so that a crash (a signal), a hang and memory that grows are
seen. A case is made from (seed, target, number) alone: `--audio 1 --first 1234` runs it again. The
files of findings are kept in FOLDER. The exit status is 1 if there are any.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, List, NamedTuple

from .targets import TARGETS

SECONDS_PER_CASE = 60.0  # a machine may be busy with other things
SECONDS_TO_START = 600.0
MAX_GROWTH_MB = 64.0
_MEMORY_LIMIT_GB = 16
_PAGE_MB = resource.getpagesize() / 1e6


class Report(NamedTuple):
    """What came of fuzzing a target."""

    num_cases: int
    seconds: float
    growth_mb: float
    findings: List[str]


def fuzz(name: str, num_cases: int, seed: int, folder: Path, first: int = 0) -> Report:
    """Run cases `first` to `first + num_cases` of a target.

    Args:
        name: of the target.
        num_cases, seed, first: which cases.
        folder: for the files; those of findings stay in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    case, growth_mb = context.Value("q", first), context.Value("d", 0.0)
    log = folder / "findings.jsonl"
    start = time.monotonic()
    while case.value < first + num_cases:
        process = context.Process(
            target=_work, args=(name, seed, first + num_cases, folder, case, growth_mb)
        )
        process.start()
        ended = _watch(process, case)
        if ended is None:
            break
        _keep(folder, name, seed, case.value, ended)
        case.value += 1
    findings = log.read_text().splitlines() if log.exists() else []
    if growth_mb.value > MAX_GROWTH_MB:
        findings.append(f"memory grew by {growth_mb.value:.0f} MB")
    return Report(num_cases, time.monotonic() - start, growth_mb.value, findings)


def _watch(process: Any, case: Any) -> Any:
    """Wait for the end of a process; why it did not end well, or None if it did."""
    last, since, limit = case.value, time.monotonic(), SECONDS_TO_START
    while process.is_alive():
        process.join(1.0)
        if case.value != last:
            last, since, limit = case.value, time.monotonic(), SECONDS_PER_CASE
        elif time.monotonic() - since > limit:
            process.kill()
            process.join()
            return f"no end after {limit:.0f} s"
    return None if process.exitcode == 0 else f"ended with exit status {process.exitcode}"


def _work(name: str, seed: int, stop: int, folder: Path, case: Any, growth_mb: Any) -> None:
    limit = _MEMORY_LIMIT_GB << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # mpg123 speaks of every damaged frame
    target = TARGETS[name](folder)
    begin, settled_mb = case.value, None
    while case.value < stop:
        files = target.make(random.Random(f"{seed} {name} {case.value}"))
        try:
            target.run(files)
        except BaseException:
            _keep(folder, name, seed, case.value, traceback.format_exc(), files)
        case.value += 1
        # Caches and allocators fill up first.
        if settled_mb is None and case.value - begin >= (stop - begin) // 3:
            settled_mb = _resident_mb()
    if settled_mb is not None:
        growth_mb.value = max(growth_mb.value, _resident_mb() - settled_mb)


def _keep(folder: Path, name: str, seed: int, case: int, problem: str, files: Any = None) -> None:
    """Write down a finding, and its files."""
    if files is None:
        files = TARGETS[name](folder).make(random.Random(f"{seed} {name} {case}"))
    kept = folder / f"finding-{case}"
    for file, data in files.items():
        path = kept / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with (folder / "findings.jsonl").open("a") as log:
        log.write(
            json.dumps({"target": name, "seed": seed, "case": case, "problem": problem}) + "\n"
        )


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MB


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in TARGETS:
        parser.add_argument(f"--{name}", type=int, default=0, metavar="CASES")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    num_findings = 0
    for name in TARGETS:
        num_cases = getattr(args, name)
        if num_cases:
            report = fuzz(name, num_cases, args.seed, folder / name, args.first)
            print(
                f"{name}: {report.num_cases} cases in {report.seconds:.0f} s,"
                f" {len(report.findings)} findings, memory {report.growth_mb:+.1f} MB",
                flush=True,
            )
            for finding in report.findings[:20]:
                print(f"  {finding[-600:]}")
            num_findings += len(report.findings)
    print(f"files: {folder}")
    return 1 if num_findings else 0


if __name__ == "__main__":
    sys.exit(main())
