"""What is known of the clips of a manifest so far, in a file that a kill leaves usable."""

import hashlib
import os
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np

from .manifest import Manifest

UNKNOWN = -1


class Finding(NamedTuple):
    """What there is to say of a clip."""

    clip: int
    num_samples: int  # per channel, as decoded
    action: str = ""  # "" if all is well
    problem: str = ""


class Journal:
    """Findings, and a file that gets a line for each; an interrupted check goes on from there.

    Args:
        path: the file; one about another manifest is started anew.
        manifest: whose clips they are about.

    Attributes:
        num_samples: (N,) int64, as decoded; `UNKNOWN` for clips without a finding.
        problems: the findings that have one, by clip.
    """

    def __init__(self, path: str, manifest: Manifest) -> None:
        self.num_samples = np.full(len(manifest), UNKNOWN)
        self.problems: Dict[int, Finding] = {}
        self._path = path
        head = hashlib.sha256(Path(manifest.file).read_bytes()).hexdigest().encode() + b"\n"
        with open(path, "a+b") as file:
            file.seek(0)
            end = len(head) if file.readline() == head else 0
            for line in file if end else ():
                if line.endswith(b"\n"):  # else a kill cut it off
                    self._keep(_parse(line))
                    end += len(line)
            file.truncate(end)
            file.write(b"" if end else head)
        self._file = open(path, "ab")  # noqa: SIM115

    @property
    def num_done(self) -> int:
        """Clips with a finding."""
        return int((self.num_samples != UNKNOWN).sum())

    def add(self, finding: Finding) -> None:
        """Keep a finding, and write it down sooner or later."""
        self._keep(finding)
        fields = (str(finding.clip), str(finding.num_samples), finding.action, finding.problem)
        self._file.write(os.fsencode("\t".join(fields)) + b"\n")

    def close(self) -> None:
        """Write down what is not yet."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file: all is done."""
        self.close()
        os.remove(self._path)

    def _keep(self, finding: Finding) -> None:
        self.num_samples[finding.clip] = finding.num_samples
        if finding.action:
            self.problems[finding.clip] = finding


def _parse(line: bytes) -> Finding:
    clip, num_samples, action, problem = os.fsdecode(line[:-1]).split("\t", 3)
    return Finding(int(clip), int(num_samples), action, problem)
