"""`eat benchmark`: how fast this machine runs EAT, and what limits it."""

import itertools
import json
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Dict, List, Optional, Sequence, Type

from eat.benchmark import DTYPES, RECORDINGS, SIZES
from eat.files import replace_file
from eat.machine import choose_device

from .options import argument, option
from .shared import DeviceOption

_NUMBER = {"default": None, "at_least": 1, "metavar": "N"}
_KINDS = ", ".join(f"{i} {kind} {hz / 1000:g} kHz" for i, (kind, hz, _) in enumerate(RECORDINGS))
# Results that the table leaves to the JSON, beside the least of repeated times.
_NOT_SHOWN = ("device", "manifest", "num_files", "profile", "settings", "tflop")


@dataclass(kw_only=True)
class _Common(DeviceOption):
    json: bool = option("print JSON instead of a table", False)
    out: Optional[str] = option("file to write the JSON to as well", None, metavar="FILE")


@dataclass(kw_only=True)
class DataOptions(_Common):
    """Clips per second that a worker reads of your manifest, and whether training would wait.

    One worker process reads clips drawn at random; then updates of a training are timed on clips
    in memory. Training waits if all its workers read fewer clips per second than it needs; on a CPU
    they also share its cores. `eat benchmark train --data` measures the wait itself.
    """

    EXAMPLE: ClassVar[str] = "eat benchmark data manifests/mine/train.tsv --train base"

    manifest: str = argument("manifest whose clips are read, e.g. manifests/mine/train.tsv")
    train: List[str] = option("config/pretrain_*.yaml to train with", ["tiny"], choices=SIZES)
    dtype: List[str] = option("what the training computes in", ["fp32"], choices=DTYPES)
    clips: Optional[int] = option("clips per update (default: the config's)", **_NUMBER)
    workers: Optional[int] = option("processes that read (default: the config's)", **_NUMBER)
    repeats: int = option("rounds of reading, and timed updates", 5, at_least=1)


@dataclass(kw_only=True)
class ExtractOptions(_Common):
    """Clips per second of feature extraction from files, and of the network alone.

    Features of synthetic recordings are extracted as `eat extract` does, from the files to .npy
    files; in turn with it the network runs alone, on spectrograms in memory, in batches of the size
    that is fastest. `share` says how much of the network's speed is left, `gain` what batches bring
    over one clip at a time. Several values of an option make a case of each combination.
    """

    EXAMPLE: ClassVar[str] = "eat benchmark extract --dtype fp32 bf16"

    config_size: List[str] = option("untrained encoder of this size", ["base"], choices=SIZES)
    checkpoint: Optional[str] = option("checkpoint whose encoder is taken instead", None)
    dtype: List[str] = option("what to compute in", ["fp32", "bf16"], choices=DTYPES)
    seconds: List[float] = option("length of the recordings", [10.0], at_least=0.1)
    files: List[int] = option(f"format of the recordings: {_KINDS}", [0], choices=range(5))
    recordings: Optional[int] = option("recordings (default: 32, on a GPU 512)", **_NUMBER)
    batch_size: Optional[int] = option("clips in one pass, as for `eat extract`", **_NUMBER)
    workers: Optional[int] = option("threads, as for `eat extract`", **_NUMBER)
    repeats: int = option("rounds", 3, at_least=1)


@dataclass(kw_only=True)
class TrainOptions(_Common):
    """Clips per second, time and memory of an update of the pre-training.

    Several values of an option make a case of each combination, in a process of its own. Times are
    medians. `forward` excludes the teacher; `teacher` is its forward pass and its own update;
    `optimizer` scales, clips and steps; `update` is the whole as fairseq's trainer does it, `rest`
    what that takes beyond the parts. TFLOP/s and the share of the peak (that of matrix products
    timed between the updates) are of forward, teacher and backward together. Memory is the growth
    since before the model was made: of forward and backward, then with the optimizer.
    """

    EXAMPLE: ClassVar[str] = "eat benchmark train --config-size base --dtype bf16 --clips 2 4"

    config_size: List[str] = option("size of config/pretrain_*.yaml", ["base"], choices=SIZES)
    dtype: List[str] = option("fp32, or this with fp32 masters", ["fp32"], choices=DTYPES)
    clips: Optional[List[int]] = option("clips per update (default: the config's)", **_NUMBER)
    clones: Optional[List[int]] = option("clones of a clip (default: the config's)", **_NUMBER)
    frames: Optional[List[int]] = option("frames of a clip (default: the config's)", **_NUMBER)
    compile: List[str] = option("model.compile", ["config"], choices=("config", "off", "on"))
    set: List[str] = option("settings, as for fairseq-hydra-train", [], metavar="KEY=VALUE")
    data: Optional[str] = option(
        "train on the clips of FOLDER/train.tsv, and time the wait for them", None, metavar="FOLDER"
    )
    repeats: int = option("timed updates", 5, at_least=1)
    profile: bool = option("also list the operators that take longest", False)


def run_data(options: DataOptions) -> int:
    """Compare what a worker reads with what a training needs."""
    from eat.benchmark import UpdateCase, measure_loading

    workers = () if options.workers is None else (f"dataset.num_workers={options.workers}",)
    named = {"config": options.train, "data": options.manifest, "settings": workers}
    return _run(options, measure_loading, UpdateCase, **named)


def run_extract(options: ExtractOptions) -> int:
    """Compare extraction with the network alone."""
    from eat.benchmark import ExtractionCase, measure_extraction

    few = 512 if choose_device(options.device) == "cuda" else 32
    named = {"config": options.config_size, "kind": options.files, "num_workers": options.workers}
    named["num_clips"] = options.recordings or few
    return _run(options, measure_extraction, ExtractionCase, **named)


def run_train(options: TrainOptions) -> int:
    """Take updates apart."""
    from eat.benchmark import UpdateCase, measure_update

    compiled = [{"on": True, "off": False}.get(value) for value in options.compile]
    named = {"config": options.config_size, "compile": compiled, "settings": tuple(options.set)}
    return _run(options, measure_update, UpdateCase, **named)


def _run(options: _Common, measure: Any, case: Type[Any], **named: Any) -> int:
    """Measure all combinations; the fields of a case are options of their name, or `named`."""
    from eat.benchmark import describe_machine, run_cases

    device = choose_device(options.device)
    given = {**vars(options), "device": device, **named}
    chosen = {one.name: given.get(one.name, one.default) for one in fields(case)}
    several = [value if isinstance(value, list) else [value] for value in chosen.values()]
    cases = [case(*values) for values in itertools.product(*several)]
    found = {"machine": describe_machine(device), "cases": run_cases(measure, cases)}
    text = json.dumps(found, indent=2)
    if options.out:
        with replace_file(options.out) as file:
            file.write(f"{text}\n".encode())
    print(text if options.json else _as_text(found["machine"], found["cases"]))
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
    "data": (DataOptions, run_data),
    "extract": (ExtractOptions, run_extract),
    "train": (TrainOptions, run_train),
}
