"""What this machine computes with."""

import ctypes
import os
import platform
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Tuple

# Names of the CPU's bf16 units in /proc/cpuinfo. With avx512_bf16 alone (an AMD EPYC) an MLP of
# EAT-base takes 85 ms of CPU time in bf16 and 205 ms in fp32 (512 tokens, both passes).
_CPU_BF16_UNITS = ("amx_bf16", "avx512_bf16")
_MIN_BF16_CAPABILITY = 8  # CUDA compute capability of the first GPUs that multiply bf16
# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 1 << 30


class Gpu(NamedTuple):
    """A CUDA device."""

    name: str
    memory_gib: float
    has_bf16: bool  # whether it multiplies bf16 in hardware


class Hardware(NamedTuple):
    """The processor and the GPUs."""

    processor: str
    num_cores: int  # logical ones
    cpu_bf16: Tuple[str, ...]  # the CPU's units that multiply bf16; empty if nothing tells
    gpus: List[Gpu]  # the CUDA devices that torch finds

    def multiplies_bf16(self, device: str = "auto") -> bool:
        """Whether a device has hardware for bf16; without it bf16 is slower than fp32.

        The device is "cpu", "cuda", or "auto", a GPU if there is one.
        """
        if device == "cpu" or (device == "auto" and not self.gpus):
            return bool(self.cpu_bf16)
        return bool(self.gpus) and all(gpu.has_bf16 for gpu in self.gpus)


def describe_hardware() -> Hardware:
    """Find out what this machine computes with, and what of it multiplies bf16 in hardware."""
    import torch  # here, as commands import this module to show their help

    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    gpus = [
        Gpu(device.name, device.total_memory / 2**30, device.major >= _MIN_BF16_CAPABILITY)
        for device in devices
    ]
    processor = next(_cpu_info("model name"), "") or platform.processor() or platform.machine()
    flags = next(_cpu_info("flags"), "").split()
    cpu_bf16 = tuple(unit for unit in _CPU_BF16_UNITS if unit in flags)
    return Hardware(processor, os.cpu_count() or 1, cpu_bf16, gpus)


def choose_device(name: str) -> str:
    """Resolve "auto", "cpu" or "cuda" to a device of torch; auto is cuda if there is one.

    A ValueError says that there is no CUDA device, or that it is another name.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: found {name!r}, expected auto, cpu or cuda")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError("device: found no CUDA device (`eat doctor` says more), expected one")
    return "cuda" if has_cuda and name != "cpu" else "cpu"


def _cpu_info(field: str) -> Iterator[str]:
    """The values of a field in /proc/cpuinfo, which only Linux has."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = [line.partition(":") for line in file]
    except OSError:
        return
    yield from (value.strip() for name, _, value in pairs if name.strip() == field)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use the calling thread alone, where its operations are short or few.

    Threads that wait for the next operation keep their cores busy, and others from using them.
    """
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation; for training on a CPU, and for probes.

    By default it returns large blocks to the system and gets them back page by page, filled with
    zeros, which costs an activation as much time as its arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library or another system
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
