"""Clips that cannot be read: replaced by others, named once, counted, limited."""

import fcntl
import logging
import os
from typing import Any, Dict, List, Set, Union

from fairseq.data import BaseWrapperDataset
from torch import Tensor

from eat.audio import AudioError
from eat.data.datasets import SpectrogramDataset
from eat.randomness import Purpose, generator_for
from eat.work import Failure

logger = logging.getLogger(__name__)

POLICIES = ("error", "skip")
MAX_DRAWS = 10  # of other clips, if those cannot be read either


class TooMuchBadAudio(ValueError):
    """A larger share of an epoch's clips than `task.max_bad_ratio` cannot be read."""


class ReplacingDataset(BaseWrapperDataset):
    """A data set that gives another clip in place of one that cannot be read.

    Which one depends on (seed, epoch, clip) only. It is the same as in its own place, so the epoch
    contains it twice. Batches list the clips that were replaced under `bad_clips`.
    """

    dataset: SpectrogramDataset

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The clip, or another one with the failure under `bad_clip`.

        An AudioError says that neither the clip nor any of `MAX_DRAWS` others can be read.
        """
        data = self.dataset
        try:
            return data[index]
        except AudioError as error:
            clip = int(data.clips[index % len(data)])
            failure = Failure.of(data.manifest.path(clip), error)
        generator = generator_for(data.seed, Purpose.REPLACEMENT, data.epoch, clip)
        for _ in range(MAX_DRAWS):
            try:
                return {**data[int(generator.integers(len(self)))], "bad_clip": failure}
            except AudioError as error:
                last = error
        raise AudioError(f"{failure.reason}; and none of {MAX_DRAWS} others can be read: {last}")

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """The data set's batch with the list `bad_clips`."""
        batch = self.dataset.collater(samples)
        if batch:
            batch["bad_clips"] = [s["bad_clip"] for s in samples if "bad_clip" in s]
        return batch


class BadAudio:
    """The clips of a run that could not be read.

    Args:
        file: a list of them, one line `file<TAB>reason` each, shared by the run's workers and
            restarts.
        max_ratio: the largest share of an epoch's clips that they may be.
    """

    def __init__(self, file: str, max_ratio: float) -> None:
        self._file = file
        self._max_ratio = max_ratio
        self._named: Set[str] = set()
        self._read_to = 0  # `_named` holds the file up to here
        self._epoch, self._num_clips = 1, 0
        self.count: Union[int, Tensor] = 0  # in this epoch, by all workers

    def start_epoch(self, epoch: int, num_clips: int) -> None:
        """Check the epoch that ends, and start counting in one of `num_clips` clips."""
        self.check()
        self._epoch, self._num_clips, self.count = epoch, num_clips, 0

    def note(self, batch: Dict[str, Any]) -> int:
        """Name the bad clips of a batch that were not named before; returns how many it has."""
        bad_clips = batch.get("bad_clips", ())
        for clip in bad_clips:
            if clip.path not in self._named and self._add(clip):
                logger.warning("replaced a clip that cannot be read: %s", clip.reason)
        return len(bad_clips)

    def check(self) -> None:
        """Raise TooMuchBadAudio if there are more bad clips in this epoch than the limit."""
        count = int(self.count)
        if count > self._max_ratio * self._num_clips:
            raise TooMuchBadAudio(
                f"task.max_bad_ratio: found {count} clips that cannot be read among the"
                f" {self._num_clips} of epoch {self._epoch}, expected at most {self._max_ratio:g}"
                f" of them. They are listed in {self._file}; `eat manifest check` writes a manifest"
                " without them"
            )

    def _add(self, clip: Failure) -> bool:
        """Add a clip to the file, unless this or another worker has done so."""
        try:
            with open(self._file, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(self._read_to)
                self._named.update(os.fsdecode(line.split(b"\t")[0]) for line in file)
                is_new = clip.path not in self._named
                if is_new:
                    file.write(os.fsencode("\t".join(clip)) + b"\n")
                self._read_to = file.tell()
        except OSError as error:  # then each worker names the clip
            logger.warning("%s: cannot be written: %s", self._file, error.strerror)
            is_new = True
        self._named.add(clip.path)
        return is_new
