"""`eat benchmark data`: whether data arrives as fast as training can take it."""

import argparse
from typing import Any, Callable, Dict, List, Tuple

from eat.machine import choose_device
from eat.work import show_progress

from ..arguments import number, whole_number
from ..devices import add_device_argument
from .arguments import add_dtypes, add_repeats, add_sizes
from .report import add_report_arguments, report_tables

HELP = "clips per second of a loader's worker, manifests of millions of lines, waits of a training"

DESCRIPTION = """\
Read synthetic recordings with the loader of the pre-training and with a straightforward one, both
in one worker process; open a manifest of millions of lines and draw an epoch of it; train with two
workers and time how long updates wait for their batches. Each case runs in a process of its own.
"""

EPILOG = """\
The straightforward loader gives the same spectrograms: it reads whole files with soundfile,
averages the channels with numpy, makes window and mel filters anew for every clip, and draws masks
one by one. Both take turns, and the ratio is the median over the rounds. Memory is that of the
process beyond the size of the manifest. An epoch is ordered, cut into batches of 12 and sharded to
4 GPUs by fairseq's iterator.
"""

TABLES = {
    "loading": {
        "files": "one worker reads",
        "clips_per_second": "clips/s",
        "baseline_clips_per_second": "straightforward",
        "ratio": "ratio",
    },
    "listing": {
        "lines": "lines",
        "file_mb": "MB",
        "open_seconds": "open s",
        "memory_beyond_file_mb": "MB beyond file",
        "epoch_seconds": "epoch s",
    },
    "waiting": {
        "config": "config",
        "dtype": "dtype",
        "clips": "clips",
        "clones": "clones",
        "workers": "workers",
        "update_ms": "update ms",
        "wait_ms": "wait ms",
        "longest_wait_ms": "longest",
        "share_of_time": "of time",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat benchmark data`."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.add_argument(
        "--recordings",
        type=whole_number(24),
        default=60,
        metavar="N",
        help="to read in each round (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=number(0.1, float("inf")),
        default=10.0,
        help="length of a recording (default: %(default)s)",
    )
    parser.add_argument(
        "--lines",
        nargs="*",
        type=whole_number(1),
        default=[2_000_000],
        metavar="N",
        help="of the manifests (default: 2000000)",
    )
    add_sizes(parser, "--train", ["tiny"], "config/pretrain_*.yaml to train with", nargs="*")
    add_dtypes(parser, ["fp32"], "of these trainings")
    parser.add_argument(
        "--clips",
        type=whole_number(1),
        metavar="N",
        help="per update (default: the config's dataset.batch_size)",
    )
    add_repeats(parser, 5, "rounds of reading, and timed updates")
    add_device_argument(parser)
    add_report_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every case and report them together."""
    from eat.benchmark.machine import describe_machine, run_in_fresh_process

    device = choose_device(args.device)
    cases = list_cases(args, device)
    results = (run_in_fresh_process(measure, case) for _, measure, case in cases)
    found: Dict[str, Any] = {"machine": describe_machine(device), **{name: [] for name in TABLES}}
    shown = show_progress(results, len(cases), "benchmark", "case")
    for (table, _, _), result in zip(cases, shown, strict=True):
        found[table].append(result)
    report_tables(args, found, TABLES)
    return 0


def list_cases(
    args: argparse.Namespace, device: str
) -> List[Tuple[str, Callable[[Any], Dict[str, Any]], Any]]:
    """The table that each case belongs to, what measures it, and the case."""
    from eat.benchmark.listing import measure_listing
    from eat.benchmark.loading import LoadingCase, WaitingCase, measure_loading, measure_waiting
    from eat.benchmark.recordings import KINDS

    return [
        *(
            (
                "loading",
                measure_loading,
                LoadingCase(kind, args.recordings, args.seconds, args.repeats),
            )
            for kind in KINDS
        ),
        *(("listing", measure_listing, num_lines) for num_lines in args.lines),
        *(
            (
                "waiting",
                measure_waiting,
                WaitingCase(config, dtype, args.clips, device, args.repeats),
            )
            for config in args.train
            for dtype in args.dtype
        ),
    ]
