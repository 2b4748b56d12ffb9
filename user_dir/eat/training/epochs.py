"""The batches of an epoch: a run resumes at the right one, and what loads them ends with them."""

import functools
import logging
import queue
import threading
import time
import weakref
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import torch
from fairseq.data.iterators import CountingIterator, EpochBatchIterator

from .shared_memory import in_shared_memory

logger = logging.getLogger(__name__)

_SECONDS_TO_STOP = 20.0  # a thread first finishes the batch that it is reading


class ResumableIterator(EpochBatchIterator):
    """fairseq's iterator, with a position that any number of workers understands.

    fairseq stores how many batches a worker has had. With another number of workers or another
    batch size that is another part of the epoch, or lies beyond its end.

    The processes and the thread that load an epoch end with it. fairseq keeps the processes
    waiting for a next epoch, which gets its own, so they pile up until memory is short.

    Args:
        iterator: a fresh iterator of fairseq; this one takes its place.
        task_state: what the task stores in checkpoints. fairseq does not compare it with that of
            the run it resumes, so it is stored here as well.

    Attributes:
        unfinished: the position at which a run stopped before it validated and saved as usual;
            see `saving.finishing`.
    """

    def __init__(
        self, iterator: EpochBatchIterator, task_state: Optional[Mapping[str, Any]] = None
    ) -> None:
        self.__dict__.update(vars(iterator))
        self.collate_fn = in_shared_memory(self.collate_fn)
        self._task_state = dict(task_state or {})
        self.reuse_dataloader = self.persistent_workers = False
        self._num_ahead, self.buffer_size = self.buffer_size, 0  # reading ahead is done here
        self.unfinished: Optional[Dict[str, Any]] = None

    def _get_iterator_for_epoch(self, *args: Any, **kwargs: Any) -> Any:
        batches = super()._get_iterator_for_epoch(*args, **kwargs)
        if batches is None or self._num_ahead == 0:
            return batches
        return CountingIterator(ReadAhead(batches, self._num_ahead), batches.n, batches.total)

    @property
    def ordered_batches(self) -> Callable[..., Any]:
        """fairseq's method of that name, bound to this object by a weak reference.

        fairseq hands it to the loader, which this object holds: with a strong reference the two
        would keep each other, and the loading processes, until Python looks for circles.
        """
        return functools.partial(EpochBatchIterator.ordered_batches, weakref.proxy(self))

    @property
    def clips_per_iteration(self) -> int:
        """Clips that all workers together take at once."""
        return len(self.frozen_batches[0]) * self.num_shards

    def state_dict(self) -> Dict[str, Any]:
        """The position in the epoch, how many clips its unit is, and the task's state."""
        state = {
            **super().state_dict(),
            "clips_per_iteration": self.clips_per_iteration,
            "task_state": self._task_state,
        }
        return state if self.unfinished is None else {**state, "unfinished": self.unfinished}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Continue the epoch after the clips that were seen.

        With the same number of workers and the same batch size this is exact. With another number
        of workers the batches stay the same, and a few come twice if the position is no whole
        number of iterations. With another batch size the epoch has other batches, and only the
        number of clips that are left is the same. A ValueError says that the run had another task,
        such as other classes.
        """
        stored = state_dict.get("task_state", {})
        for key, expected in self._task_state.items():
            if stored.get(key, expected) != expected:
                raise ValueError(
                    f"checkpoint.restore_file: found a checkpoint with other {key}, expected those"
                    " of this run; start with another checkpoint.save_dir"
                )
        self.unfinished = state_dict.get("unfinished")
        position = state_dict["iterations_in_epoch"]
        found = state_dict.get("clips_per_iteration", self.clips_per_iteration)
        if found != self.clips_per_iteration:
            clips = position * found
            position = clips // self.clips_per_iteration
            logger.info(
                "resuming with %d instead of %d clips at once: epoch %d continues after %d of the"
                " %d clips that were seen",
                *(self.clips_per_iteration, found, state_dict["epoch"]),
                *(position * self.clips_per_iteration, clips),
            )
        super().load_state_dict({**state_dict, "iterations_in_epoch": position})


class ReadAhead:
    """Batches that a thread reads ahead. It ends with this object, and before Python does.

    fairseq never stops its own thread (`BufferedIterator`). When a run ends in the middle of an
    epoch Python kills that thread wherever it is; in the middle of an operation of torch this
    aborts the process after all was saved, with an exit status that says it failed. So many of the
    `batches` as `size` says are kept ready.
    """

    def __init__(self, batches: Iterator[Any], size: int) -> None:
        self._buffer: queue.Queue[Any] = queue.Queue(size)
        stop = threading.Event()
        device = torch.cuda.current_device() if torch.cuda.is_available() else None
        self._thread = threading.Thread(
            target=_read, args=(batches, self._buffer, stop, device), daemon=True
        )
        weakref.finalize(self, _end, self._thread, self._buffer, stop)

    def __iter__(self) -> "ReadAhead":
        return self

    def __next__(self) -> Any:
        if self._thread.ident is None:
            self._thread.start()
        item = self._buffer.get()
        if isinstance(item, Exception):
            raise item
        return item


def _read(
    batches: Iterator[Any], buffer: "queue.Queue[Any]", stop: threading.Event, device: Any
) -> None:
    if device is not None:  # pinning memory would make a context on the first GPU
        torch.cuda.set_device(device)
    try:
        for batch in batches:
            if stop.is_set():
                return
            buffer.put(batch)
        buffer.put(StopIteration())
    except Exception as error:  # raised again where the batch is taken
        buffer.put(error)


def _end(thread: threading.Thread, buffer: "queue.Queue[Any]", stop: threading.Event) -> None:
    stop.set()
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while thread.is_alive() and thread is not threading.current_thread():
        if time.monotonic() > deadline:
            return
        try:
            buffer.get(timeout=0.05)  # the thread may wait for room
        except queue.Empty:
            continue
