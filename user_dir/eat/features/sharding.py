"""Which clips one of several extractions takes that fill a folder together."""

import hashlib
import os
import re
from dataclasses import dataclass

_SLURM_VARIABLES = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]


@dataclass(frozen=True)
class Shard:
    """Part `number`, from 1, of `count` parts of all clips; each clip is in exactly one."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard: found {self}, expected I/N with I from 1 to N")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that "2/4" means, or "auto", that of this task of a Slurm job array.

        A ValueError for another text, or "auto" elsewhere or in an array of uneven steps.
        """
        if text == "auto":
            return cls._of_slurm_task()
        if not re.fullmatch("[0-9]+/[0-9]+", text):
            raise ValueError(f"found {text!r}, expected I/N such as 2/4, or auto")
        return cls(*map(int, text.split("/")))

    @classmethod
    def _of_slurm_task(cls) -> "Shard":
        values = [os.environ.get(name, "") for name in _SLURM_VARIABLES]
        found = " ".join(map("=".join, zip(_SLURM_VARIABLES, values, strict=True)))
        if not all(map(str.isdecimal, values)):
            raise ValueError(f"auto: found {found}, expected a task of a Slurm job array")
        task, first, last, count = map(int, values)
        step = (last - first) // max(1, count - 1) or 1
        if last - first != step * (count - 1) or (task - first) % step:
            raise ValueError(f"auto: found {found}, expected tasks in even steps such as 0-9:3")
        return cls((task - first) // step + 1, count)

    def holds(self, name: str) -> bool:
        """Whether features of this name are made here.

        The name alone decides, not its place in the list: a file that is added, or seen by one
        machine later than by another, moves no other file to a shard that has ended already.
        """
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1
