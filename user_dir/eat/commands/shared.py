"""Options that several subcommands have, to be inherited, and what all print in the same way."""

import sys
from dataclasses import dataclass, fields
from typing import Iterable, Optional

from eat.work import Failure

from .options import option

CHECKPOINT = "file or folder of any EAT checkpoint, or owner/name on the Hugging Face hub"


@dataclass(kw_only=True)
class CheckpointOptions:
    """What a checkpoint may not tell: `checkpoint` becomes a path that carries it."""

    mean: Optional[float] = option(
        "mean of the front end that the checkpoint was trained with. Not given: what it says or is"
        " published with, else AudioSet's",
        None,
    )
    std: Optional[float] = option(
        "standard deviation of that front end (the input is divided by twice of it)", None
    )
    speed: Optional[float] = option(
        "how fast recordings are played for the network: at 0.1 a second is taken as ten (for bats;"
        " above 1 for whales). Not given: the checkpoint's. Times stay those of the recording",
        None,
    )
    num_heads: Optional[int] = option(
        "attention heads, for weights without a configuration", None, at_least=1, metavar="HEADS"
    )

    def __post_init__(self) -> None:
        if getattr(self, "checkpoint", None) is not None:
            from eat.checkpoint import Source

            stated = {f.name: getattr(self, f.name, None) for f in fields(Source)}
            self.checkpoint = Source(**{**stated, "path": self.checkpoint})


@dataclass(kw_only=True)
class LabelsOption(CheckpointOptions):
    """The names of a classifier's classes."""

    labels: Optional[str] = option(
        "file with the names of the classes, in their order: AudioSet's class_labels_indices.csv, a"
        " .csv of that form, a .json of names and indices, or text with a name per line. Not given:"
        " those in the checkpoint or its folder",
        None,
        metavar="FILE",
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
