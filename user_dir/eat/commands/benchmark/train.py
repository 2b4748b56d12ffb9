"""`eat benchmark train`: what an update of the pre-training costs."""

import argparse
import itertools
from typing import Any, Dict, List, NamedTuple

from eat.machine import choose_device
from eat.work import show_progress

from ..arguments import whole_number
from ..devices import add_device_argument
from .arguments import add_dtypes, add_repeats, add_sizes
from .report import add_report_arguments, report

HELP = "clips per second, time and memory of an update of the pre-training"

DESCRIPTION = """\
Train on random clips and say where the time goes. Each case runs in a process of its own; the
matrix products that give the peak are timed between the updates. Options that take several values
make a case of each combination, which shows how the cost grows.
"""

EPILOG = """\
Times are medians. forward excludes the teacher, teacher is its forward pass and its own update,
optimizer is scaling, clipping and step. update is the whole of it as fairseq's trainer does it,
rest what it takes beyond these parts. TFLOP/s and the share of the peak are of forward, teacher and
backward together; share of update is of everything. Memory is the growth since before the model was
made: of the process on a CPU, of torch's allocations on a GPU; first of forward and backward, then
with the optimizer.
"""

COLUMNS = {
    "config": "config",
    "dtype": "dtype",
    "compile": "compile",
    "clips": "clips",
    "clones": "clones",
    "frames": "frames",
    "clips_per_second": "clips/s",
    "update_ms_median": "update ms",
    "forward_ms_median": "forward",
    "backward_ms_median": "backward",
    "optimizer_ms_median": "optimizer",
    "teacher_ms_median": "teacher",
    "rest_ms": "rest",
    "data_wait_ms_median": "data wait",
    "tflops_per_second": "TFLOP/s",
    "share_of_peak": "of peak",
    "update_share_of_peak": "update of peak",
    "memory_gb": "GB",
    "update_memory_gb": "GB update",
}


class Case(NamedTuple):
    """What one process measures; None: as in the config."""

    config: str
    dtype: str
    compile: str
    clips: int
    clones: int
    frames: int
    device: str
    settings: List[str]
    data: str
    repeats: int
    profile: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat benchmark train`."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    add_sizes(parser, "--config-size", ["base"], "of config/pretrain_*.yaml")
    add_dtypes(parser, ["fp32"], "of the network; all but fp32 keep float32 masters")
    for name, what in [
        ("clips", "clips per update (default: the config's dataset.batch_size)"),
        ("clones", "masked clones of each (default: the config's)"),
        ("frames", "length of the clips in frames of 10 ms (default: the config's)"),
    ]:
        parser.add_argument(
            f"--{name}", nargs="+", type=whole_number(1), default=[None], metavar="N", help=what
        )
    parser.add_argument(
        "--compile",
        nargs="+",
        default=["config"],
        choices=("config", "off", "on"),
        help="model.compile (default: the config's)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="other settings, as for fairseq-hydra-train",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="train on the clips of FOLDER/train.tsv, and time the wait"
    )
    add_repeats(parser, 5, "timed updates")
    parser.add_argument(
        "--profile", action="store_true", help="also list the operators that take longest"
    )
    add_device_argument(parser)
    add_report_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every case and report them together."""
    from eat.benchmark.machine import describe_machine, run_in_fresh_process
    from eat.benchmark.update import measure_update

    device = choose_device(args.device)
    cases = [
        Case(*values, device, args.set, args.data, args.repeats, args.profile)
        for values in itertools.product(
            args.config_size, args.dtype, args.compile, args.clips, args.clones, args.frames
        )
    ]
    results = (run_in_fresh_process(measure_update, case) for case in cases)
    found: List[Dict[str, Any]] = list(show_progress(results, len(cases), "benchmark", "case"))
    report(args, {"machine": describe_machine(device), "cases": found}, COLUMNS)
    for result in found:
        if "profile" in result and not args.json:
            print(f"\n{result['profile']}")
    return 0
