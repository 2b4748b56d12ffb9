"""What this machine computes with."""

import torch


def choose_device(name: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        ValueError: there is no CUDA device.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError("--device: found no CUDA device (`eat doctor` says more), expected one")
    return "cuda" if has_cuda and name != "cpu" else "cpu"
