"""`eat benchmark`: how fast this machine runs EAT, and what limits it."""

import json
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from typing import Any, ClassVar, Dict, List, Optional, Sequence, Type

from eat.benchmark import DTYPES, ExtractionCase, LoadingCase, UpdateCase
from eat.features import DeviceOption
from eat.files import write_file
from eat.machine import choose_device

from .options import option
from .shared import CheckpointOptions

# Results that the table leaves to the JSON, beside the least of repeated times.
_NOT_SHOWN = ("device", "manifest", "num_files", "profile", "settings", "tflop")


@dataclass(kw_only=True)
class _Common(DeviceOption):
    json: bool = option("print JSON instead of a table", False)
    out: Optional[str] = option("file to write the JSON to as well", None, metavar="FILE")


@dataclass(kw_only=True)
class DataOptions(_Common, LoadingCase):
    """Clips per second that a worker reads of your manifest, and whether training would wait.

    One worker process reads clips drawn at random; then updates of a training are timed on clips
    in memory. Training waits if all its workers read fewer clips per second than it needs; on a CPU
    they also share its cores. `eat benchmark train --data` measures the wait itself.
    """

    EXAMPLE: ClassVar[str] = "eat benchmark data manifests/mine/train.tsv --train base"


@dataclass(kw_only=True)
class ExtractOptions(_Common, CheckpointOptions, ExtractionCase):
    """Clips per second of feature extraction from files, and of the network alone.

    Features of synthetic recordings are extracted as `eat extract` does, from the files to .npy
    files; in turn with it the network runs alone, on spectrograms in memory, in batches of the size
    that is fastest. `share` says how much of the network's speed is left, `gain` what batches bring
    over one clip at a time. Several values of an option make a case of each combination.
    """

    EXAMPLE: ClassVar[str] = "eat benchmark extract --dtype fp32 bf16"

    dtype: List[str] = option("what to compute in", ["fp32", "bf16"], choices=DTYPES)


@dataclass(kw_only=True)
class TrainOptions(_Common, UpdateCase):
    """Clips per second, time and memory of an update of the pre-training.

    Several values of an option make a case of each combination, in a process of its own. Times are
    medians. `forward` excludes the teacher; `teacher` is its forward pass and its own update;
    `optimizer` scales, clips and steps; `update` is the whole as fairseq's trainer does it, `rest`
    what that takes beyond the parts. TFLOP/s and the share of the peak (that of matrix products
    timed between the updates) are of forward, teacher and backward together. Memory is the growth
    since before the model was made: of forward and backward, then with the optimizer. `warm up` is
    the first three passes together, with compilation.
    """

    EXAMPLE: ClassVar[str] = "eat benchmark train --config-size base --dtype bf16 --clips 2 4"


def _run(measure: str, case: Type[Any], options: Any) -> int:
    """Call `eat.benchmark.{measure}` for all combinations, and print what it found."""
    from eat import benchmark

    options.device = choose_device(options.device)
    values = {one.name: getattr(options, one.name) for one in fields(case)}
    for one in fields(case):
        if not (one.metadata.get("several") and isinstance(values[one.name], list)):
            values[one.name] = [values[one.name]]
    cases = [case(**dict(zip(values, some, strict=True))) for some in product(*values.values())]
    found = {
        "machine": benchmark.describe_machine(options.device),
        "cases": benchmark.run_cases(getattr(benchmark, measure), cases),
    }
    text = json.dumps(found, indent=2)
    print(text if options.json else _as_text(found["machine"], found["cases"]))
    if options.out:
        write_file(options.out, f"{text}\n".encode())
    return 0


def _as_text(machine: Dict[str, Any], cases: Sequence[Dict[str, Any]]) -> str:
    """The machine in a few lines, a table with a row for each case, the profiles."""
    shown = [k for k in cases[0] if k not in _NOT_SHOWN and not k.endswith("_minimum")]
    headings = [
        key.replace("_per_second", "/s").replace("_median", "").replace("_", " ") for key in shown
    ]
    rows = [headings, *([_as_cell(case[key]) for key in shown] for case in cases)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{name:<10} {value}" for name, value in machine.items()]
    lines += ["", *("  ".join(map(str.rjust, row, widths)) for row in rows)]
    return "\n".join([*lines, *(f"\n{case['profile']}" for case in cases if "profile" in case)])


def _as_cell(value: Any) -> str:
    """Numbers to three digits or whole."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


ACTIONS = {
    "data": (DataOptions, partial(_run, "measure_loading", LoadingCase)),
    "extract": (ExtractOptions, partial(_run, "measure_extraction", ExtractionCase)),
    "train": (TrainOptions, partial(_run, "measure_update", UpdateCase)),
}
