"""Options that several subcommands have, to be inherited, and what all print in the same way."""

import sys
from dataclasses import dataclass
from typing import Iterable, List, Optional, Union

from eat.work import Failure

from .options import option


@dataclass(kw_only=True)
class DeviceOption:
    """Where to compute."""

    device: str = option(
        "where to compute; auto: cuda if there is one", "auto", choices=("auto", "cpu", "cuda")
    )


@dataclass(kw_only=True)
class WeightsOption:
    """Whose weights to take."""

    weights: str = option(
        "whose weights of a pre-training checkpoint", "student", choices=("student", "teacher")
    )


def _parse_layers(text: str) -> Union[str, List[int]]:
    if text in ("last", "all", "mean"):
        return text
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        expected = "last, all, mean or numbers of blocks such as 3,6,9"
        raise ValueError(f"found {text!r}, expected {expected}")
    return [int(number) for number in numbers]


@dataclass(kw_only=True)
class LayersOption:
    """Which blocks' outputs to take."""

    layers: Union[str, List[int]] = option(
        "blocks whose outputs are taken: last; all, or numbers from 1 such as 3,6,9; or mean, the"
        " average over all blocks",
        "last",
        parse=_parse_layers,
    )


@dataclass(kw_only=True)
class TargetLengthOption:
    """How long clips are made."""

    target_length: Optional[int] = option(
        "frames of 10 ms, a multiple of 16, that every clip is padded or cut to; the network"
        " attends to the padding as in training (released code: 1024). Not given: each clip at its"
        " own length",
        None,
        at_least=1,
        metavar="FRAMES",
    )


@dataclass(kw_only=True)
class Hdf5Option:
    """The sample rate of HDF5 packs that do not tell theirs."""

    hdf5_rate_hz: Optional[int] = option(
        "sample rate of clips in HDF5 packs that have no attribute sample_rate",
        None,
        at_least=1,
        metavar="HZ",
    )


def print_failures(failures: Iterable[Failure], notes: Iterable[str] = ()) -> int:
    """Print notes and the inputs that were left out on stderr; returns the exit status, 1 if inputs
    were left out.
    """
    for note in notes:
        print(note, file=sys.stderr)
    failures = sorted(failures)
    for path, reason in failures:
        print(f"failed {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0
