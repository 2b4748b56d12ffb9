"""A run that is asked to stop saves where it is, and the same command continues it.

Ctrl-C, SIGTERM (`kill`, the end of a job), SIGHUP (a closed terminal), SIGUSR1 and SIGUSR2 (a job's
time is nearly over) ask for it. Another Ctrl-C ends the run at once. If Slurm asks,
it is also told to start the job again.

Several workers have to save at the same update. What each was asked for is summed with the
statistics that they exchange anyway, and all act on a sum one update later. By then a GPU has long
computed it, so nothing waits for it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch.distributed as dist

from .launch import STOP_SIGNALS

NOTHING_TO_SAVE = "stopped before the first update: there is nothing to save"

# Two within this time are one: a launcher passes on the Ctrl-C that the terminal sent as well.
_SECONDS_BETWEEN = 1.0
_SLURM_SECONDS = 10.0  # for an answer of Slurm

Asked = Tuple[Any, Any]  # to stop, to save: each an int or a tensor with one number


class StopAsked(Exception):
    """The run was asked to stop, and all workers know it."""


class _Received:
    """The signals that this process received, with the times of their arrival."""

    def __init__(self) -> None:
        self.numbers: List[int] = []
        self.last_at = 0.0
        self.can_save = False
        self.is_listening = False

    def add(self, number: int, frame: Any) -> None:
        """The handler of all signals."""
        if not self.can_save:
            self.numbers.append(number)
            _tell(NOTHING_TO_SAVE)
            requeue(_tell)
            raise SystemExit(_exit_status(number))
        now = time.monotonic()
        is_another = bool(self.numbers) and now - self.last_at > _SECONDS_BETWEEN
        self.numbers.append(number)
        self.last_at = now
        if number != signal.SIGINT:
            return
        if is_another:
            raise KeyboardInterrupt
        if len(self.numbers) == 1:
            _tell("stopping after this update; another Ctrl-C ends the run at once, unsaved")


_received = _Received()


def listen() -> None:
    """From now on, end with one line when asked to; processes that load data do not listen.

    Signals that are ignored (as after `nohup`) or that somebody else handles stay as they are; but
    submitit, which starts a job again without having saved, is relieved of it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in STOP_SIGNALS:
        handler = signal.getsignal(number)
        if handler in (signal.SIG_DFL, signal.default_int_handler) or is_in_submitit():
            signal.signal(number, _received.add)
    if not _received.is_listening:
        os.register_at_fork(
            before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, STOP_SIGNALS),
            after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOP_SIGNALS),
            after_in_child=_listen_to_parent_only,
        )
        _received.is_listening = True


def is_in_submitit() -> bool:
    """Whether hydra's launcher for Slurm started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ


def save_when_asked() -> None:
    """From now on there is something to save: an update is completed before a stop."""
    _received.can_save = True


def exit_status() -> int:
    """The status of a run that was asked to stop, as shells report it: 128 + the signal."""
    return _exit_status(_received.numbers[0] if _received.numbers else signal.SIGTERM)


def requeue(tell: Callable[[str], None]) -> None:
    """Have Slurm start the job again that it stops, and tell what comes of it.

    For a signal of Slurm, not for Ctrl-C, and by the first process of a job. A job that its user
    cancelled is not running any more, and stays cancelled.
    """
    job, process = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_PROCID", "0")
    if job is None or process != "0" or _received.numbers[:1] == [signal.SIGINT]:
        return
    try:
        state = _ask_slurm("squeue", "--noheader", "--format=%T", f"--jobs={job}")
        if state != "RUNNING":
            return tell(f"job {job} is not started again: it is {state.lower() or 'over'}")
        tell(f"job {job} is to be started again")
        _ask_slurm("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        tell(f"job {job} is not started again: {reason.strip()}")


def _ask_slurm(*command: str) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_SLURM_SECONDS
    ).stdout.strip()


class Requests:
    """What the workers of a run are asked for; after 0 minutes there is no save by time."""

    def __init__(self, save_interval_minutes: float) -> None:
        self._interval_seconds = 60 * save_interval_minutes
        self._saved_at = time.monotonic()
        self._agreed: Asked = (0, 0)
        self._reduced: Asked = (0, 0)

    def values(self) -> Dict[str, int]:
        """What this worker was asked for, to be summed with its statistics."""
        seconds = time.monotonic() - self._saved_at
        is_due = 0 < self._interval_seconds <= seconds
        return {"stop_asked": len(_received.numbers), "save_due": int(is_due)}

    def reduce(self, logging_outputs: Sequence[Dict[str, Any]]) -> None:
        """Take the sums over all workers."""
        sums = [sum(log.get(key, 0) for log in logging_outputs) for key in self.values()]
        self._agreed, self._reduced = self._reduced, (sums[0], sums[1])

    def check(self) -> None:
        """Raise StopAsked if the run has to stop here; all workers call it at the same places."""
        if self._agreed[0] or (not dist.is_initialized() and _received.numbers):
            raise StopAsked

    def take_due_save(self) -> bool:
        """Whether it is time to save; if so, the next interval begins."""
        is_due = bool(self._agreed[1])
        if is_due:
            self._saved_at = time.monotonic()
            self._agreed = (self._agreed[0], 0)
            self._reduced = (self._reduced[0], 0)
        return is_due


def _listen_to_parent_only() -> None:
    """In a new process: end when the parent says so, whatever the terminal or Slurm send to all.

    It begins with all these signals blocked: its parent's handler would raise here what unwinds a
    copy of the parent.
    """
    others = [number for number in STOP_SIGNALS if number != signal.SIGTERM]
    for number in others:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, others)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        continue
    os._exit(0)  # as torch does when the process that loads for it is ended


def _exit_status(number: int) -> int:
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def _tell(text: str) -> None:
    # Not by logging or print: a signal may arrive while these hold their locks.
    os.write(sys.__stderr__.fileno(), f"{text}\n".encode())
