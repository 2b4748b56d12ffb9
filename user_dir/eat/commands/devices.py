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
