"""`eat benchmark extract`: features from files, against what the network could do alone."""

import argparse
import itertools
from typing import Any, Dict, List, NamedTuple, Optional

from eat.machine import choose_device
from eat.work import show_progress

from ..arguments import number, whole_number
from ..devices import add_device_argument
from .arguments import add_dtypes, add_repeats, add_sizes
from .report import add_report_arguments, report

HELP = "clips per second of feature extraction from files, and of the network alone"

DESCRIPTION = """\
Extract the features of synthetic recordings as `eat extract` does, from the files to .npy files; in
turn with it run the network alone, on spectrograms in memory, with all threads. Each case runs in a
process of its own. The share says how much of the network's speed is left when files are read and
written.
"""

EPILOG = """\
The network alone takes batches of the size, of those tried, that is fastest. One by one is the same
extraction with a batch size of 1, where no two clips share a pass.
"""

COLUMNS = {
    "checkpoint": "encoder",
    "dtype": "dtype",
    "files": "files",
    "network_clips_per_second": "network clips/s",
    "network_batch": "batch",
    "clips_per_second": "extraction clips/s",
    "share": "share",
    "one_by_one_clips_per_second": "one by one clips/s",
    "gain": "gain",
}


class Case(NamedTuple):
    """What one process measures."""

    checkpoint: Optional[str]
    size: str
    dtype: str
    kind: int  # of the files
    seconds: float
    num_clips: int
    repeats: int
    batch_size: Optional[int]
    num_workers: Optional[int]
    device: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat benchmark extract`."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    add_sizes(parser, "--config-size", ["base"], "an untrained encoder of config/pretrain_*.yaml")
    parser.add_argument("--checkpoint", help="an encoder to take instead")
    add_dtypes(parser, ["fp32", "bf16"], "to compute in")
    parser.add_argument(
        "--seconds",
        nargs="+",
        type=number(0.1, float("inf")),
        default=[10.0],
        help="length of the recordings (default: 10)",
    )
    parser.add_argument(
        "--files",
        nargs="+",
        type=int,
        choices=range(5),
        default=[0],
        help="0: wav 16 kHz; 1: wav, 2: flac, 3: mp3, all 44.1 kHz stereo; 4: ogg 48 kHz"
        " (default: 0)",
    )
    parser.add_argument(
        "--recordings",
        type=whole_number(1),
        metavar="N",
        help="in each round (default: 32, on a GPU 512)",
    )
    for name in ("batch-size", "workers"):
        parser.add_argument(
            f"--{name}", type=whole_number(1), metavar="N", help="as for `eat extract`"
        )
    add_repeats(parser, 3, "rounds")
    add_device_argument(parser)
    add_report_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every case and report them together."""
    from eat.benchmark.extraction import measure_extraction
    from eat.benchmark.machine import describe_machine, run_in_fresh_process

    device = choose_device(args.device)
    num_clips = args.recordings or (512 if device == "cuda" else 32)
    sizes = args.config_size if args.checkpoint is None else [""]
    cases = [
        Case(
            checkpoint=args.checkpoint,
            size=size,
            dtype=dtype,
            kind=kind,
            seconds=seconds,
            num_clips=num_clips,
            repeats=args.repeats,
            batch_size=args.batch_size,
            num_workers=args.workers,
            device=device,
        )
        for size, dtype, kind, seconds in itertools.product(
            sizes, args.dtype, args.files, args.seconds
        )
    ]
    results = (run_in_fresh_process(measure_extraction, case) for case in cases)
    found: List[Dict[str, Any]] = list(show_progress(results, len(cases), "benchmark", "case"))
    report(args, {"machine": describe_machine(device), "cases": found}, COLUMNS)
    return 0
