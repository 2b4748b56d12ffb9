"""What the benchmarks measure with: time, memory, the peak of the machine, fresh processes."""

import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, set_start_method
from typing import Any, Callable, Dict, List, Sequence, TypeVar

import torch

from eat import __version__
from eat.machine import describe_hardware
from eat.work import show_progress

Case = TypeVar("Case")
Result = TypeVar("Result")

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def describe_machine(device: str) -> Dict[str, Any]:
    """Processor, threads, memory and versions, as a flat dict."""
    hardware = describe_hardware()
    found = {
        "processor": hardware.processor,
        "bf16 units": ", ".join(hardware.cpu_bf16) or "none",
        "cores": hardware.num_cores,
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "eat": __version__,
    }
    if device == "cuda":
        found.update(gpu=hardware.gpus[0].name, cuda=torch.version.cuda)
    return found


def run_cases(measure: Callable[[Case], Result], cases: Sequence[Case]) -> List[Result]:
    """Measure each case in a new Python, one after the other, with a progress bar.

    A ValueError says that a process was killed, most likely because memory ran out.
    """

    def run(case: Case) -> Result:
        try:
            with ProcessPoolExecutor(1, get_context("spawn"), _start_by_default) as pool:
                return pool.submit(measure, case).result()
        except BrokenProcessPool as error:
            raise ValueError(f"{case}: the process was killed, too little memory?") from error

    return list(show_progress(map(run, cases), len(cases), "benchmark", "case"))


def _start_by_default() -> None:
    """Let processes of data loaders start as they do in a Python that was started by hand."""
    set_start_method(None, force=True)


def stopwatch(device: str) -> Callable[[], float]:
    """A function that returns the seconds since its last call, the device's work included."""
    last = 0.0

    def lap() -> float:
        nonlocal last
        if device == "cuda":
            torch.cuda.synchronize()
        before, last = last, time.perf_counter()
        return last - before

    lap()
    return lap


def time_call(function: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds that a call takes, the device's work included."""
    lap = stopwatch(device)
    function()
    return lap()


def milliseconds(name: str, seconds: Sequence[float]) -> Dict[str, float]:
    """The usual time, and the least: what is possible when nothing else runs."""
    return {
        f"{name}_ms_median": 1e3 * statistics.median(seconds),
        f"{name}_ms_minimum": 1e3 * min(seconds),
    }


def peak_bytes(device: str) -> int:
    """The most memory so far: on a CPU resident in this process, on a GPU allocated by torch."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except OSError:
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of large square matrix products: the upper bound for a network.

    Other processes and the clock change the rate of a machine by the minute, so measure it between
    the timed steps.
    """
    # A GPU needs larger products to be busy, and many in a row.
    repeats, sizes = (20, (4096, 8192)) if device == "cuda" else (1, (2048, 4096))

    def rate(size: int) -> float:
        a, b, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
        torch.matmul(a[:256], b, out=out[:256])  # sets up the library

        def multiply() -> None:
            for _ in range(repeats):
                torch.matmul(a, b, out=out)

        return 2 * size**3 * repeats / time_call(multiply, device)

    return max(map(rate, sizes))
