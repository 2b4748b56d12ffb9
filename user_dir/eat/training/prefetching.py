"""The thread that reads batches ahead ends with its epoch, and with the run.

fairseq's is a daemon: when a run ends in the middle of an epoch, Python kills it wherever it is. In
the middle of an operation of torch that aborts the process, after all was saved, with a status that
says it failed. And as long as it lives, so do the processes that load.
"""

import queue
import threading
import time
import weakref
from typing import Any, Iterator, Optional

from fairseq.data.iterators import BufferedIterator, CountingIterator

_SECONDS_TO_STOP = 20.0  # it ends with the batch it is at


class Source:
    """Batches of a loader, until somebody stops it.

    Args:
        batches: the loader.
    """

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self._is_stopped = False
        self._thread: Optional[threading.Thread] = None

    def __iter__(self) -> Iterator[Any]:
        self._thread = threading.current_thread()
        for batch in self._batches:
            if self._is_stopped:
                return
            yield batch

    def stop(self, buffer: "queue.Queue[Any]") -> None:
        """Wait for the end of the thread that iterates and puts the batches into a buffer."""
        self._is_stopped = True
        thread, deadline = self._thread, time.monotonic() + _SECONDS_TO_STOP
        if thread is None or thread is threading.current_thread():
            return
        while thread.is_alive() and time.monotonic() < deadline:
            try:
                buffer.get(timeout=0.05)  # it may wait for room
            except queue.Empty:
                continue


def end_with(iterator: Optional[CountingIterator]) -> None:
    """Have the thread behind an iterator end when nobody uses the iterator any more, or at exit."""
    buffered = getattr(iterator, "_itr", None)
    if isinstance(buffered, BufferedIterator):
        source = Source(buffered._iterable)
        buffered._iterable = source
        weakref.finalize(buffered, source.stop, buffered._queue)
