"""Training runs as processes that start in a second and can be killed anywhere.

A process that has imported everything once is forked for each run, which then goes through
fairseq-hydra-train's own entry point. Imports are what takes the time of a start.
"""

import hashlib
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Callable, Container, List, Mapping, NamedTuple, Optional

import torch
from helpers import train_command

PRELOADED = [
    *("fairseq_cli.hydra_train", "eat.tasks", "eat.models"),
    *("eat.training.checkpoint_files", "eat.training.replacements"),
]
SAVING_STEPS = ("fsync", "replace", "link", "remove")  # of the module os

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def start(
    overrides: List[str],
    folder: Path,
    config: str = "pretrain_tiny",
    log: str = "log.txt",
    before: Optional[Callable[[], None]] = None,
) -> multiprocessing.Process:
    """Start a run in `folder`; its output is added to `log` there.

    Args:
        overrides: of the configuration.
        folder: its working directory.
        config: the name of the configuration.
        log: name of the file.
        before: called in the new process first; a function of a module.
    """
    argv = train_command(config, overrides)[2:]
    process = _context.Process(target=_run, args=(argv, str(folder), log, before))
    process.start()
    return process


def _run(argv: List[str], folder: str, log: str, before: Optional[Callable[[], None]]) -> None:
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    multiprocessing.set_start_method("fork", force=True)  # of loader workers, as it is by default
    torch.set_num_threads(1)
    if before is not None:
        before()
    from fairseq_cli.hydra_train import cli_main

    sys.argv = argv
    cli_main()


def print_teacher() -> None:
    """Print a digest of the teacher's weights after each update of this process."""
    from eat.tasks.pretraining import PretrainingTask

    step = PretrainingTask.optimizer_step

    def step_and_print(task, optimizer, model, update_num):
        step(task, optimizer, model, update_num)
        digest = hashlib.sha256()
        for value in model.teacher.state_dict().values():
            digest.update(value.numpy().tobytes())
        print("teacher", update_num + 1, digest.hexdigest(), flush=True)

    PretrainingTask.optimizer_step = step_and_print


class LimitFileSize:
    """Let no file grow beyond a size, which fails as a full disk does."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.num_bytes, self.num_bytes))


class SpoilLoss:
    """Make the loss of some updates NaN, counted from 1."""

    def __init__(self, updates: Container[int]) -> None:
        self.updates = updates

    def __call__(self) -> None:
        from eat.criterions.ufo import UfoCriterion

        forward = UfoCriterion.forward

        def spoil(criterion, model, sample, reduce=True):
            loss, sample_size, log = forward(criterion, model, sample, reduce)
            if criterion.training and model.num_updates + 1 in self.updates:
                loss = loss * float("nan")
                log["loss"] = loss.detach()
            return loss, sample_size, log

        UfoCriterion.forward = spoil


class InterruptAt:
    """Press Ctrl-C in the n-th update, or in the validation after it.

    Args:
        step: a method of the task, "optimizer_step" or "valid_step".
        update: counted from 1.
        times: how often, 1.2 s apart.
    """

    def __init__(self, step: str, update: int, times: int = 1) -> None:
        self.step, self.update, self.times = step, update, times

    def __call__(self) -> None:
        from eat.tasks.pretraining import PretrainingTask

        step = getattr(PretrainingTask, self.step)

        def interrupt(task, *args, **kwargs):
            result = step(task, *args, **kwargs)
            if task.num_updates == self.update:
                for _ in range(self.times):
                    os.kill(os.getpid(), signal.SIGINT)
                    self.times -= 1
                    time.sleep(1.2 if self.times else 0)
            return result

        setattr(PretrainingTask, self.step, interrupt)


class KillAtStep:
    """Kill the process at the n-th step of saving that it takes, counted from 1.

    A step is a call of `os.fsync`, `os.replace`, `os.link` or `os.remove`, or 400 kB written.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self) -> None:
        for name in SAVING_STEPS:
            setattr(os, name, self._counted(getattr(os, name)))
        torch.save = self._save_in_steps(torch.save)

    def _counted(self, function: Callable) -> Callable:
        def count(*args, **kwargs):
            self._count()
            return function(*args, **kwargs)

        return count

    def _save_in_steps(self, save: Callable) -> Callable:
        def save_in_steps(state, file):
            write, written = file.write, 0

            class Steps:
                def write(steps, data):
                    nonlocal written
                    written += len(data)
                    while written >= 400_000:
                        written -= 400_000
                        file.flush()
                        self._count()
                    return write(data)

                def flush(steps):
                    file.flush()

            save(state, Steps())

        return save_in_steps

    def _count(self) -> None:
        self.step -= 1
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def wait_for(condition: Callable[[], bool], process: multiprocessing.Process) -> bool:
    """Wait until the condition holds (True) or the process has ended (False)."""
    while process.is_alive():
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def differences(found: Mapping, expected: Mapping) -> List[str]:
    """Where two training checkpoints differ in anything but settings, times and restarts."""
    return _differing("", _comparable(found), _comparable(expected))


def _comparable(state: Mapping) -> Mapping:
    ignored = ("metrics", "previous_training_time")
    extra_state = {k: v for k, v in state["extra_state"].items() if k not in ignored}
    history = state["optimizer_history"][-1]  # an entry for every start
    return {**state, "cfg": None, "extra_state": extra_state, "optimizer_history": history}


def _differing(path: str, found: Any, expected: Any) -> List[str]:
    if isinstance(expected, (list, tuple)):
        found, expected = dict(enumerate(found)), dict(enumerate(expected))
    if isinstance(expected, dict):
        if set(found) != set(expected):
            return [path]
        return [
            d for key in expected for d in _differing(f"{path}/{key}", found[key], expected[key])
        ]
    is_same = torch.equal(found, expected) if torch.is_tensor(expected) else found == expected
    return [] if is_same else [path]


def start_workers(
    num_workers: int, overrides: List[str], folder: Path, **options
) -> List[multiprocessing.Process]:
    """Start the processes of one run on the CPU; worker r logs to `log.r.txt`."""
    if num_workers == 1:
        return [start(overrides, folder, log="log.0.txt", **options)]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    section = "distributed_training"
    shared = [
        "common.cpu=true",
        f"{section}.distributed_world_size={num_workers}",
        f"{section}.distributed_backend=gloo",
        f"{section}.distributed_init_method=tcp://127.0.0.1:{port}",
        f"{section}.distributed_no_spawn=true",
        f"{section}.device_id=0",
    ]
    return [
        start(
            [*overrides, *shared, f"{section}.distributed_rank={rank}"],
            folder,
            log=f"log.{rank}.txt",
            **options,
        )
        for rank in range(num_workers)
    ]


class Run(NamedTuple):
    """What became of a run: the exit status and the log of each worker."""

    statuses: List[int]
    logs: List[str]

    @property
    def log(self) -> str:
        """The log of the first worker, or all there is."""
        return self.logs[0]

    def check(self) -> "Run":
        """See that it went well."""
        assert set(self.statuses) == {0}, self.log[-3000:]
        return self


def run(overrides: List[str], folder: Path, num_workers: int = 1, **options) -> Run:
    """Run to the end, whatever that is."""
    logs = [folder / f"log.{worker}.txt" for worker in range(num_workers)]
    for log in logs:
        log.unlink(missing_ok=True)
    processes = start_workers(num_workers, overrides, folder, **options)
    for process in processes:
        process.join()
    return Run([process.exitcode for process in processes], [log.read_text() for log in logs])
