"""Arguments that several benchmarks share."""

import argparse
from typing import Any, Sequence

from ..arguments import whole_number


def add_sizes(
    parser: argparse.ArgumentParser, flag: str, default: Sequence[str], what: str, nargs: str = "+"
) -> None:
    """Declare which `config/pretrain_*.yaml` to take."""
    sizes = ("tiny", "base", "large")
    _add_several(parser, flag, default, what, choices=sizes, nargs=nargs)


def add_dtypes(parser: argparse.ArgumentParser, default: Sequence[str], what: str) -> None:
    """Declare `--dtype`, a case for each."""
    dtypes = ("fp32", "bf16", "fp16")
    _add_several(parser, "--dtype", default, what, choices=dtypes, nargs="+")


def add_repeats(parser: argparse.ArgumentParser, default: int, what: str) -> None:
    """Declare `--repeats`."""
    shown = f"{what} (default: %(default)s)"
    parser.add_argument("--repeats", type=whole_number(1), default=default, help=shown)


def _add_several(
    parser: argparse.ArgumentParser, flag: str, default: Sequence[str], what: str, **kwargs: Any
) -> None:
    shown = f"{what} (default: {' '.join(default)})"
    parser.add_argument(flag, default=list(default), help=shown, **kwargs)
