"""Which processes train a run: one, those that torchrun or Slurm started, or one for each GPU.

fairseq by itself takes no part in torchrun unless it sees GPUs, and multiplies nodes by GPUs under
Slurm: without GPUs it starts nobody, and reports success. It also waits for the processes that it
starts in a way that a signal ends with a traceback. This takes the place of its decision; the rest,
`distributed_main`, is fairseq's own.
"""

import multiprocessing
import os
import re
import signal
import sys
from multiprocessing import resource_tracker
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

import torch
from fairseq.distributed.utils import distributed_main
from omegaconf import DictConfig, open_dict
from torch import nn

from .launch import STOP_SIGNALS
from .output import show_errors_in_one_line
from .stopping import listen

_SECTION = "distributed_training"
_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
# Ports for jobs whose user chose none: below those that systems hand out by themselves.
_FIRST_PORT, _NUM_PORTS = 15000, 15000


class Place(NamedTuple):
    """This process among the workers of a run."""

    num_workers: int
    rank: int = 0  # of the first worker here
    local: int = 0  # the GPU of this worker
    meet: Optional[str] = None  # where all workers find each other, for torch.distributed
    starts: int = 0  # how many workers this process starts; 0: it is one itself


def starting(
    call_main: Callable[..., Any], cfg: DictConfig, main: Callable[..., Any], **kwargs: Any
) -> None:
    """fairseq's function that starts the workers of a run, with another decision on who they are.

    A ValueError says that the processes that there are cannot be the workers of one run.
    """
    settings = cfg.distributed_training
    if cfg.common.tpu or settings.pipeline_model_parallel:
        return call_main(cfg, main, **kwargs)
    uses_gpus = torch.cuda.is_available() and not cfg.common.cpu
    place = find_place(settings, os.environ, torch.cuda.device_count() if uses_gpus else 0)
    if place.starts > 1 and not (uses_gpus or cfg.common.cpu):
        raise ValueError(
            f"{_SECTION}.distributed_world_size: found {place.num_workers} and no GPU, expected"
            " 1, or common.cpu=true for as many workers on the CPU"
        )
    if place.meet is None:
        settings.distributed_world_size = 1
        return call_main(cfg, main, **kwargs)
    with open_dict(cfg):
        settings.distributed_world_size = place.num_workers
        settings.distributed_init_method = place.meet
        settings.distributed_rank, settings.device_id = place.rank, place.local
        settings.distributed_no_spawn = place.starts == 0
        if not uses_gpus:
            settings.distributed_backend = "gloo"
    if place.starts == 0:
        return distributed_main(place.local, main, cfg, kwargs)
    settings.distributed_rank = None  # each counts from start_rank
    _start(place.starts, main, cfg, {**kwargs, "start_rank": place.rank})


def on_any_device(wrap: Callable[..., nn.Module], module: nn.Module, **options: Any) -> nn.Module:
    """torch's DistributedDataParallel, for models on the CPU too, as fairseq calls it."""
    if next(module.parameters()).device.type == "cpu":
        options.update(device_ids=None, output_device=None)
    return wrap(module, **options)


def find_place(settings: DictConfig, environment: Mapping[str, str], num_gpus: int) -> Place:
    """This process among the workers of a run.

    By the section `distributed_training`, the variables of torchrun or Slurm, and how many GPUs the
    process sees and may use. A ValueError for more processes than GPUs, or a job of several nodes
    without srun.
    """
    world_size, meet = settings.distributed_world_size, settings.distributed_init_method
    if meet is not None:
        starts = 0 if settings.distributed_no_spawn else min(num_gpus or world_size, world_size)
        return Place(world_size, settings.distributed_rank, settings.device_id, meet, starts)
    if all(name in environment for name in _TORCHRUN):
        return _with_torchrun(environment, num_gpus)
    if "SLURM_STEP_NUM_TASKS" in environment:
        return _with_slurm(settings, environment, num_gpus)
    num_nodes = int(environment.get("SLURM_JOB_NUM_NODES", 1))
    if num_nodes > 1:
        raise ValueError(
            f"SLURM_JOB_NUM_NODES: found a job of {num_nodes} nodes and a process that srun did not"
            " start, expected `srun fairseq-hydra-train ...` (see examples/slurm.sbatch)"
        )
    if world_size == 1:
        return Place(1)
    if num_gpus and world_size > num_gpus:
        raise ValueError(
            f"{_SECTION}.distributed_world_size: found {world_size}, expected at most {num_gpus},"
            " the GPUs of this machine"
        )
    address = f"tcp://localhost:{_port(settings, environment)}"
    return Place(world_size, meet=address, starts=world_size)


def check_alone() -> None:
    """Raise a ValueError if torchrun or Slurm started several processes that each train alone."""
    if torch.distributed.is_initialized():
        return
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if int(os.environ.get(name, 1)) > 1:
            raise ValueError(
                f"{name}: found {os.environ[name]} processes that each would train alone, expected"
                " a recipe that loads the plugin before they meet: copy hydra.job_logging.filters"
                " from config/pretrain_base.yaml"
            )


def _with_torchrun(environment: Mapping[str, str], num_gpus: int) -> Place:
    world_size, rank = int(environment["WORLD_SIZE"]), int(environment["RANK"])
    local = _local_gpu(int(environment.get("LOCAL_RANK", rank)), num_gpus, "torchrun")
    return Place(world_size, rank, local, "env://" if world_size > 1 else None)


def _with_slurm(settings: DictConfig, environment: Mapping[str, str], num_gpus: int) -> Place:
    """A step of srun: a task is one worker, or starts one for each GPU of its node."""
    num_tasks = int(environment["SLURM_STEP_NUM_TASKS"])
    num_nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
    host = environment.get("MASTER_ADDR") or _first_host(environment["SLURM_STEP_NODELIST"])
    meet = f"tcp://{host}:{_port(settings, environment)}"
    starts = min(num_gpus, settings.distributed_world_size)
    if num_tasks == num_nodes and starts > 1:
        rank = starts * int(environment["SLURM_NODEID"])
        return Place(num_nodes * starts, rank, meet=meet, starts=starts)
    local = _local_gpu(int(environment["SLURM_LOCALID"]), num_gpus, "srun")
    rank = int(environment["SLURM_PROCID"])
    return Place(num_tasks, rank, local, meet if num_tasks > 1 else None)


def _local_gpu(local_rank: int, num_gpus: int, launcher: str) -> int:
    """The GPU of a worker: the only one that it sees, or that of its number on its machine."""
    if num_gpus > 1 and local_rank >= num_gpus:
        raise ValueError(
            f"{launcher}: found a worker {local_rank} on a machine with {num_gpus} GPUs, expected a"
            " worker for each GPU, or common.cpu=true"
        )
    return local_rank if num_gpus > 1 else 0


def _first_host(hosts: str) -> str:
    """The first of Slurm's short form of a list, such as "node[03-05,9],login1"."""
    prefix, first, rest = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,]*)", hosts).groups("")
    return prefix + first + rest


def _port(settings: DictConfig, environment: Mapping[str, str]) -> int:
    chosen = max(settings.distributed_port, 0) or int(environment.get("MASTER_PORT", 0))
    job = int(environment.get("SLURM_JOB_ID", os.getpid()))
    return chosen or _FIRST_PORT + job % _NUM_PORTS


def _start(num_workers: int, main: Callable[..., Any], cfg: DictConfig, kwargs: Dict) -> None:
    """Start workers on this machine and wait for them; signals are theirs.

    If one failed, or they were stopped, this process exits with the status of that one.
    """
    resource_tracker.ensure_running()  # it would unblock signals
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the workers begin like that
    workers = torch.multiprocessing.start_processes(
        _work, (main, cfg, kwargs), num_workers, join=False, start_method="spawn"
    )

    def pass_on(number: int, frame: Any) -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid, number)

    for number in STOP_SIGNALS:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        while not workers.join():
            continue
    except torch.multiprocessing.ProcessExitedException as error:
        status = error.exit_code  # the worker has told why
        raise SystemExit(status if status > 0 else 128 - status) from None


def _work(local: int, main: Callable[..., Any], cfg: DictConfig, kwargs: Dict) -> None:
    show_errors_in_one_line()
    listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked where it was started
    try:
        distributed_main(local, main, cfg, kwargs)
    except Exception:
        sys.excepthook(*sys.exc_info())
        raise SystemExit(1) from None
