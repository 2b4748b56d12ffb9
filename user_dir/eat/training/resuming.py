"""Where a resumed run goes on in its epoch, also with another number of workers."""

import logging
from typing import Any, Dict

from fairseq.data.iterators import EpochBatchIterator

from .prefetching import end_with

logger = logging.getLogger(__name__)


class ResumableIterator(EpochBatchIterator):
    """An iterator whose position in a checkpoint is understood by any number of workers.

    fairseq stores how many batches a worker has had. With other numbers of workers or other batches
    that is another part of the epoch, or beyond its end.

    It also ends the processes that load an epoch with the epoch. fairseq has them wait for the next
    one, which gets an iterator and processes of its own, and they pile up until memory is short.

    Args:
        iterator: a fresh one, which this one takes the place of.
    """

    def __init__(self, iterator: EpochBatchIterator) -> None:
        self.__dict__.update(vars(iterator))
        self.reuse_dataloader = self.persistent_workers = False

    def _get_iterator_for_epoch(self, *args: Any, **kwargs: Any) -> Any:
        iterator = super()._get_iterator_for_epoch(*args, **kwargs)
        # A method of this object, which the iterator holds: a circle that would keep both, with the
        # epoch's batches and processes, until Python looks for circles, which it rarely does.
        if hasattr(self, "epoch_batch_sampler"):  # newer than fairseq 0.12.2 of PyPI
            self.epoch_batch_sampler.ordered_batches = None
        end_with(iterator)
        return iterator

    @property
    def clips_per_iteration(self) -> int:
        """Clips that all workers together take at once."""
        return len(self.frozen_batches[0]) * self.num_shards

    def state_dict(self) -> Dict[str, Any]:
        """The position in the epoch, and what it counts."""
        return {**super().state_dict(), "clips_per_iteration": self.clips_per_iteration}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Go on behind the clips of the epoch that were seen.

        With the same number of workers and batch size that is exact. With another number of
        workers every batch stays what it was, and a few may come twice where the position is no
        whole number of iterations; with another batch size the epoch has other batches, and only
        the number of clips that are left is the same.
        """
        position = state_dict["iterations_in_epoch"]
        found = state_dict.get("clips_per_iteration", self.clips_per_iteration)
        if found != self.clips_per_iteration:
            clips = position * found
            position = clips // self.clips_per_iteration
            logger.info(
                "resuming with %d instead of %d clips at once: after %d of the %d clips of epoch %d"
                " that were seen",
                *(self.clips_per_iteration, found, position * self.clips_per_iteration, clips),
                state_dict["epoch"],
            )
        super().load_state_dict({**state_dict, "iterations_in_epoch": position})
