"""A worker that waits for ever ends, and tells where it waited.

Several workers wait for each other at every update. If one of them was stopped, or hangs on a disk
that does not answer, all others wait: by torch's own limit half an hour, or without end.
"""

import faulthandler
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import Iterator, Optional

import torch.distributed as dist

from .record import LOG_NAME

_SECONDS_TO_TELL = 10.0  # the log may be on the disk that does not answer
_LOOKS = 50  # during `stall_minutes`


class StallGuard:
    """Ends the process when no batch is finished for too long.

    The time runs only while this process does: not while it is stopped (Ctrl-Z) or the machine
    sleeps.

    Args:
        minutes: the limit, of the first batch as well; 0: none.
        save_dir: the run's folder, with its log.
    """

    def __init__(self, minutes: float, save_dir: str) -> None:
        self._minutes = minutes
        self._log = os.path.abspath(os.path.join(save_dir, LOG_NAME))
        self._num_batches = 0
        self._is_watching = False
        self._thread: Optional[threading.Thread] = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch meanwhile, from the first batch on; that one is waited for as long as it takes."""
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False

    def begin_batch(self) -> None:
        """Called before each batch: the one before is finished, with all that follows a batch."""
        self._num_batches += 1
        if self._minutes and self._is_watching and self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        seconds = 60 * self._minutes / _LOOKS
        last, num_looks = None, 0
        while num_looks < _LOOKS:
            time.sleep(seconds)
            current = self._num_batches
            num_looks = num_looks + 1 if self._is_watching and current == last else 0
            last = current
        teller = threading.Thread(target=self._tell, daemon=True)
        teller.start()
        teller.join(_SECONDS_TO_TELL)
        os._exit(1)

    def _tell(self) -> None:
        worker = dist.get_rank() if dist.is_initialized() else 0
        text = (
            f"error: task.stall_minutes: worker {worker} has finished no"
            f" batch for {self._minutes:g} minutes, and ends. Another worker may have been stopped"
            " (see its log), or a file system does not answer. A longer limit is for batches or"
            " checkpoints that take so long. Where its threads were:\n"
        )
        # Not by logging: the thread that waits may hold a lock of it.
        for path in (sys.__stderr__.fileno(), self._log):
            with open(path, "ab", buffering=0) as file:
                file.write(text.encode())
                faulthandler.dump_traceback(file)
