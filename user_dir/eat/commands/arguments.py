"""Argument types that the commands share."""

import argparse
from typing import Callable


def whole_number(minimum: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of at least `minimum`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(
                f"found {text!r}, expected a whole number of at least {minimum}"
            )
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """The type of an argument that is a number of at least `low` and below `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value < high:
            raise argparse.ArgumentTypeError(
                f"found {text!r}, expected a number of at least {low} and below {high}"
            )
        return value

    return parse


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--weights`."""
    parser.add_argument(
        "--weights",
        choices=("student", "teacher"),
        default="student",
        help="whose, of a pre-training checkpoint (default: %(default)s)",
    )


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--weights` and `--target-length`: which encoder takes clips, and how long ones."""
    add_weights_argument(parser)
    parser.add_argument(
        "--target-length",
        type=whole_number(1),
        metavar="FRAMES",
        help="pad or crop every clip to it and attend to the padding, as in training (released"
        " code: 1024); a multiple of 16 (default: every clip at its own length)",
    )


def add_hdf5_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--hdf5-rate-hz`."""
    parser.add_argument(
        "--hdf5-rate-hz",
        type=whole_number(1),
        metavar="HZ",
        help="sample rate of clips in HDF5 packs that have no attribute sample_rate",
    )
