"""How fast a GPU trains EAT: a table of variants, and what the time goes into, in ten minutes.

    python examples/gpu_speed.py --out speed.json

Pre-training updates of 12 clips x 16 clones, in bf16 and fp16, plain and compiled, then
fine-tuning on whole clips (513 tokens). `eat benchmark train` explains the columns.

Not yet run on a GPU: kernels with names that `KINDS` does not know are under `other`.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch

from eat.benchmark import UpdateCase, describe_machine, run_cases
from eat.benchmark.measuring import TORCH_DTYPES, matmul_rate, stopwatch, time_call
from eat.benchmark.update import Update, compose, encoder_flops, measure_update
from eat.criterions.classification import classification_loss
from eat.nn import Classifier, ClassifierConfig, Encoder, EncoderConfig
from eat.settings import part_of

NUM_CLASSES = 527
# What an operation is for, by its kernel's name on a GPU or its own on a CPU; the first that fits.
KINDS = {
    "optimizer, EMA": r"adam|multi_tensor|lerp|foreach|normtwo|linalg_vector_norm",
    "copies": r"memcpy|memset|copy_|::cat|catarray|index|scatter|gather",
    "attention": r"flash|fmha|attention|softmax|::bmm|baddbmm",
    "convolution": r"conv|cudnn|implicit|wgrad|dgrad",
    "matmul": r"gemm|nvjet|cutlass|cublas|xmma|::(add)?mm",
    "norm": r"norm",
    "elementwise": r"elementwise|triton|reduce|gelu|::(add|mul|sum|div)_?$",
}
COLUMNS = {
    "config": "config", "dtype": "dtype", "compile": "compile", "update_ms_median": "update ms",
    "forward_ms_median": "forward", "backward_ms_median": "backward",
    "teacher_ms_median": "teacher", "optimizer_ms_median": "optimizer", "rest_ms": "rest",
    "share_of_peak": "share of peak", "update_share_of_peak": "of update",
    "clips_per_second": "clips/s", "update_memory_gb": "memory GB", "warm_up_s": "warm up s",
}  # fmt: skip


def main(argv: Optional[Sequence[str]] = None, run: Callable[..., List[Any]] = run_cases) -> int:
    """Measure every variant in a process of its own, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", nargs="+", default=["base", "large"])
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "fp16"])
    parser.add_argument("--compile", nargs="+", default=["off", "on"])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", help="file to write all figures to, as JSON")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: found no CUDA device, expected one (`eat doctor` says more)")
    numbers = {"clips": args.clips, "device": args.device, "repeats": args.repeats}
    cases = [
        UpdateCase(config=size, dtype=dtype, compile=compiled, settings=args.set, **numbers)
        for size in args.sizes
        for dtype in args.dtypes
        for compiled in args.compile
    ]
    machine = describe_machine(args.device)
    found = run(measure_pretraining, cases) + run(measure_fine_tuning, cases)
    print(*(f"{name:<10} {value}" for name, value in machine.items()), sep="\n", end="\n\n")
    print_table([[case.get(key, "") for key in COLUMNS] for case in found], COLUMNS.values())
    names = list(dict.fromkeys(kind for case in found for kind in case["kinds"]))
    print("\nPercent of the time of an update (fine-tuning: of forward and backward)")
    rows = [[case[key] for key in ("config", "dtype", "compile")] for case in found]
    for row, case in zip(rows, found, strict=True):
        row += [100 * case["kinds"].get(name, 0.0) for name in names]
    print_table(rows, ["config", "dtype", "compile", *names])
    if args.out:
        Path(args.out).write_text(json.dumps({"machine": machine, "cases": found}, indent=2))
    return 0


def measure_pretraining(case: UpdateCase) -> Dict[str, Any]:
    """What `eat benchmark train` measures, and the kinds of operations."""
    found = measure_update(case)
    update = Update(compose(case), case)
    update.run()
    return {**found, "kinds": split_by_kind(update.run, case.device)[0]}


def measure_fine_tuning(case: UpdateCase) -> Dict[str, Any]:
    """Forward and backward of a classifier on whole clips, as long as the recipe's."""
    cfg, dtype, device = compose(case), TORCH_DTYPES[case.dtype], case.device
    encoder = Encoder(part_of(EncoderConfig, cfg.model))
    model = Classifier(ClassifierConfig(NUM_CLASSES), encoder).to(device, dtype).train()
    if case.compile == "on":
        for block in encoder.blocks:
            block.compile(dynamic=False)
    shape = (case.clips, 1, cfg.task.target_length, cfg.model.num_mel_bins)
    source = torch.randn(shape, device=device, dtype=dtype)
    target = torch.zeros(case.clips, NUM_CLASSES, device=device)

    def run() -> None:
        model.zero_grad()
        classification_loss(model(source).float(), target, "bce").backward()

    first = time_call(run, device)
    kinds, seconds = split_by_kind(run, device)
    seconds = min(seconds, *(time_call(run, device) for _ in range(case.repeats)))
    tokens = 1 + shape[2] * shape[3] // cfg.model.patch_size**2
    rate = 3 * case.clips * encoder_flops(cfg.model, tokens) / seconds
    return {
        **{"config": f"{case.config}, {tokens} tokens", "dtype": case.dtype, "kinds": kinds},
        **{"compile": str(case.compile == "on").lower(), "clips_per_second": case.clips / seconds},
        **{"update_ms_median": 1e3 * seconds, "warm_up_s": first - seconds},
        "share_of_peak": rate / matmul_rate(device, dtype),
    }


def split_by_kind(run: Callable[[], Any], device: str) -> Any:
    """Shares of a call's time by kind, with what the device waits, and its seconds unprofiled."""
    run()
    lap = stopwatch(device)
    run()
    seconds = lap()
    with torch.profiler.profile() as profile:
        time_call(run, device)
    shares = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profile.key_averages():
        is_range = getattr(event, "is_user_annotation", False)  # spans kernels counted themselves
        if str(event.device_type).lower().endswith(device) and not is_range:
            own = getattr(event, f"self_{'cpu' if device == 'cpu' else 'device'}_time_total")
            name = event.key.lower()
            kind = next((k for k, names in KINDS.items() if re.search(names, name)), "other")
            shares[kind] += own / 1e6 / seconds
    busy = sum(shares.values())
    shares = {kind: share / max(1.0, busy) for kind, share in shares.items()}
    return {**shares, "waiting": max(0.0, 1 - busy)}, seconds


def print_table(rows: Sequence[Sequence[Any]], headings: Any) -> None:
    """Right-aligned columns."""
    cells = [list(headings)]
    cells += [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(*("  ".join(map(str.rjust, row, widths)) for row in cells), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
