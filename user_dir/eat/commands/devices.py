"""Where the commands that run a network run it."""

import argparse


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--device`."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: cuda if there is one (default: %(default)s)",
    )


def choose_device(name: str) -> str:
    """ "cpu" or "cuda" for a value of `--device`.

    Raises:
        ValueError: there is no CUDA device.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError("--device: found no CUDA device (`eat doctor` says more), expected one")
    return "cuda" if has_cuda and name != "cpu" else "cpu"
