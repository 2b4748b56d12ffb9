"""Clips that cannot be read: replaced by others, named once, counted, limited."""

import fcntl
import logging
import os
from typing import Any, Dict, List, NamedTuple, Set, Union

from fairseq.data import BaseWrapperDataset
from torch import Tensor

from eat.audio import AudioError
from eat.data.datasets import SpectrogramDataset
from eat.randomness import Purpose, generator_for

logger = logging.getLogger(__name__)

POLICIES = ("error", "skip")
MAX_DRAWS = 10  # of replacements that cannot be read either


class BadClip(NamedTuple):
    """The file of a clip that cannot be read, and why: `manifest:line: file: reason`."""

    path: str
    problem: str


class TooMuchBadAudio(ValueError):
    """More clips of an epoch than `task.max_bad_ratio` cannot be read."""


class ReplacingDataset(BaseWrapperDataset):
    """A data set in which other clips take the place of those that cannot be read.

    Which one depends on (seed, epoch, clip) and nothing else; it is what it would be in its own
    place, so that an epoch has it twice. Batches tell of it under `bad_clips`.
    """

    dataset: SpectrogramDataset

    @property
    def supports_fetch_outside_dataloader(self) -> bool:
        """As the data set says; read by fairseq."""
        return self.dataset.supports_fetch_outside_dataloader

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The clip, or another one with `bad_clip`.

        Raises:
            AudioError: neither the clip nor any of `MAX_DRAWS` others can be read.
        """
        try:
            return self.dataset[index]
        except AudioError as error:
            clip = int(self.dataset.clips[index])
            bad_clip = BadClip(self.dataset.manifest.path(clip), " ".join(str(error).split()))
        generator = generator_for(self.dataset.seed, Purpose.REPLACEMENT, self.dataset.epoch, clip)
        for _ in range(MAX_DRAWS):
            try:
                return {**self.dataset[int(generator.integers(len(self)))], "bad_clip": bad_clip}
            except AudioError as error:
                last = error
        raise AudioError(f"{bad_clip.problem}; and none of {MAX_DRAWS} others can be read: {last}")

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """The data set's batch with the list `bad_clips`."""
        batch = self.dataset.collater(samples)
        if batch:
            batch["bad_clips"] = [s["bad_clip"] for s in samples if "bad_clip" in s]
        return batch


class BadAudio:
    """The clips of a run that could not be read.

    Args:
        file: where they are listed, `file<TAB>problem`, for all workers and restarts of a run.
        max_ratio: how much of an epoch they may be.
    """

    def __init__(self, file: str, max_ratio: float) -> None:
        self._file = file
        self._max_ratio = max_ratio
        self._named: Set[str] = set()
        self._read_to = 0  # how much of the file is in `_named`
        self._epoch, self._num_clips = 1, 0
        self.count: Union[int, Tensor] = 0  # in this epoch, by all workers

    def start_epoch(self, epoch: int, num_clips: int) -> None:
        """Check the epoch before, and count anew in one of `num_clips`."""
        self.check()
        self._epoch, self._num_clips, self.count = epoch, num_clips, 0

    def note(self, batch: Dict[str, Any]) -> int:
        """Name those of a batch that were not named yet; returns how many it has."""
        bad_clips = batch.get("bad_clips", ())
        for clip in bad_clips:
            if clip.path not in self._named and self._add(clip):
                logger.warning("replaced a clip that cannot be read: %s", clip.problem)
        return len(bad_clips)

    def check(self) -> None:
        """See that the clips counted in this epoch are not too many.

        Raises:
            TooMuchBadAudio: they are.
        """
        count = int(self.count)
        if count > self._max_ratio * self._num_clips:
            raise TooMuchBadAudio(
                f"task.max_bad_ratio: found {count} clips that cannot be read among the"
                f" {self._num_clips} of epoch {self._epoch}, expected at most {self._max_ratio:g}"
                f" of them. They are listed in {self._file}; `eat manifest check` writes a manifest"
                " without them"
            )

    def _add(self, clip: BadClip) -> bool:
        """Add a clip to the file, unless this or another worker did before."""
        try:
            with open(self._file, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(self._read_to)
                self._named.update(os.fsdecode(line.split(b"\t")[0]) for line in file)
                is_new = clip.path not in self._named
                if is_new:
                    file.write(os.fsencode("\t".join(clip)) + b"\n")
                self._read_to = file.tell()
        except OSError as error:  # the clip is then named by each worker
            logger.warning("%s: cannot be written: %s", self._file, error.strerror)
            is_new = True
        self._named.add(clip.path)
        return is_new
