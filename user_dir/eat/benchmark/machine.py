"""What a benchmark ran on: the machine, its memory, and the fastest that it multiplies."""

import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, set_start_method
from typing import Any, Callable, Dict, Sequence, TypeVar

import torch

from eat import __version__

Result = TypeVar("Result")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def describe_machine(device: str) -> Dict[str, Any]:
    """Processor, threads, memory and versions, for the report."""
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "eat": __version__,
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def synchronise(device: str) -> None:
    """Wait until the device has done what it was asked to."""
    if device == "cuda":
        torch.cuda.synchronize()


def time_call(function: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds that a call takes, the device's work included."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


class MatmulPeak:
    """The rate of large square matrix products: what a network can hope for at most.

    Other processes and the clock change the rate of a machine by the minute, so it is to be
    measured between the timed steps, not once.
    """

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.device = device
        # A GPU needs larger products to be busy, and many in a row.
        self._repeats = 20 if device == "cuda" else 1
        self._operands = {
            size: tuple(torch.randn(size, size, device=device).to(dtype) for _ in range(3))
            for size in ((4096, 8192) if device == "cuda" else (2048, 4096))
        }
        self._rates: Dict[int, list] = {size: [] for size in self._operands}
        self._run()  # the first products set up the library

    def measure(self) -> None:
        """Take one more sample of the rate."""
        for size, seconds in self._run().items():
            self._rates[size].append(2 * size**3 * self._repeats / seconds)

    @property
    def flops_per_second(self) -> float:
        """Median over the samples, of the size that is fastest."""
        return max(statistics.median(rates) for rates in self._rates.values())

    def _run(self) -> Dict[int, float]:
        return {
            size: time_call(lambda operands=operands: self._multiply(*operands), self.device)
            for size, operands in self._operands.items()
        }

    def _multiply(self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
        for _ in range(self._repeats):
            torch.matmul(a, b, out=out)


class PeakMemory:
    """Memory that was taken at most since this object was made, in bytes.

    Of a CPU the resident set of the process, whose peak never sinks: a process can measure one
    thing, see `run_in_fresh_process`. Of a GPU what torch allocated.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
        else:
            self._start = _process_bytes("VmRSS")

    @property
    def growth(self) -> int:
        """Bytes at the peak less those at the start."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() - self._start
        return _process_bytes("VmHWM") - self._start


def _process_bytes(field: str) -> int:
    """VmRSS, this process's memory, or VmHWM, its peak; elsewhere than on Linux the peak."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            kilobytes = next(line.split()[1] for line in file if line.startswith(f"{field}:"))
            return int(kilobytes) * 1024
    except OSError:
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def run_in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function of a module in a new Python, so that nothing is left of what ran before.

    Raises:
        ValueError: the process was killed, by a lack of memory most likely.
    """
    try:
        context = get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context, initializer=_start_by_default) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        described = ", ".join(map(str, arguments))
        raise ValueError(f"{described}: the process was killed, too little memory?") from error


def _start_by_default() -> None:
    """Let the processes of data loaders start as they do in a Python that was started by hand."""
    set_start_method(None, force=True)


def median_and_minimum(seconds: Sequence[float]) -> Dict[str, float]:
    """Milliseconds: what is usual, and what is possible when nothing else runs."""
    return {"median": 1e3 * statistics.median(seconds), "minimum": 1e3 * min(seconds)}
