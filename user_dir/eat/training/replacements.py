"""All that is replaced in fairseq, or relied on inside it: one table, verified at the start.

If the installed fairseq has another name or other parameters for something in the table, a run
ends before it begins. It never trains without what keeps it safe.
"""

import functools
import inspect
import pkgutil
import sys
from importlib import metadata
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

TESTED = "fairseq 0.12.2, ve-fairseq 0.12.3 and fairseq-fixed 0.12.3.1"


class Replacement(NamedTuple):
    """Something of fairseq that is replaced, or that a class of ours works around."""

    parts: Tuple[str, ...]  # what must be there: "module:owner.name", "(parameters)" if they matter
    by: str  # "module:name" takes the place of the first part; other texts say what works around it
    why: str  # what is wrong in fairseq
    until: str  # when this row, and what it names, can go
    upstream: str = "none known"  # issues of github.com/facebookresearch/fairseq
    wraps: bool = False  # whether `by` takes the original, before the arguments
    applies: Callable[[], bool] = lambda: True  # whether this program and this fairseq need it


_PROGRAM = "fairseq_cli.hydra_train"
_installed: List[Replacement] = []


def _is_training() -> bool:
    return "fairseq_cli.train" in sys.modules  # fairseq's program, or its entry through hydra


def _is_hydra_training() -> bool:
    return _PROGRAM in sys.modules


TABLE = (
    Replacement(
        ("fairseq.checkpoint_utils:torch_persistent_save(obj, filename, async_write)",),
        by="eat.training.checkpoint_files:save_checkpoint",
        why="renames a file that may not be on the disk yet; repeats a failed write in a torn file",
        until="it syncs file and folder, and every attempt writes a new file",
    ),
    Replacement(
        (
            "fairseq.file_io:PathManager.copy(src_path, dst_path, overwrite)",
            "fairseq.file_io:PathManager.supports_rename(path)",
        ),
        by="eat.training.checkpoint_files:copy_checkpoint",
        why="writes checkpoint_last.pt in place, so that a kill leaves it torn",
        upstream="perhaps #2684 (a checkpoint is corrupted after a restart)",
        until="further names of a checkpoint are links or renamed copies",
    ),
    Replacement(
        (
            "fairseq.checkpoint_utils:load_checkpoint_to_cpu"
            "(path, arg_overrides, load_on_all_ranks)",
        ),
        by="eat.training.checkpoint_files:load_checkpoint_to_cpu",
        why="calls torch.load without weights_only: before torch 2.6 a checkpoint can run code",
        upstream="#5603, #5610 (torch 2.6 refuses older checkpoints)",
        until="it passes weights_only=True",
    ),
    Replacement(
        ("fairseq.checkpoint_utils:verify_checkpoint_directory(save_dir)",),
        by="eat.training.checkpoint_files:prepare_folder",
        why="its error does not name the setting, it lets two runs write to one folder, and it"
        " leaves unfinished files of killed runs",
        until="it locks the folder, and save_checkpoint goes, whose unfinished files it removes",
    ),
    Replacement(
        (
            "fairseq_cli.train:validate_and_save"
            "(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch)",
        ),
        by="eat.training.saving:saving",
        wraps=True,
        applies=_is_training,
        why="does not save a run that max_epoch ends, unless an interval ends there as well; saves"
        " neither by time nor when Ctrl-C or Slurm stop a run",
        upstream="#2230 (a save that is due at the end of an epoch is left out)",
        until="its should_stop covers max_epoch, time and signals",
    ),
    Replacement(
        ("fairseq.checkpoint_utils:save_checkpoint(cfg, trainer, epoch_itr, val_loss)",),
        by="eat.training.saving:keeping_best",
        wraps=True,
        applies=_is_training,
        why="forgets the best score when one is NaN, so that a worse checkpoint replaces the best",
        until="it leaves NaN out",
    ),
    Replacement(
        ("fairseq_cli.train:train(cfg, trainer, task, epoch_itr)",),
        by="eat.training.saving:finishing",
        wraps=True,
        applies=_is_training,
        why="a validation that was due when a run was stopped would be left out; a worker waits for"
        " one that was stopped half an hour or for ever",
        until="saving:saving goes, which stops runs, and it has a limit for each batch",
    ),
    Replacement(
        ("fairseq_cli.train:add_defaults(cfg)",),
        by="eat.training.start:beginning",
        wraps=True,
        applies=_is_training,
        why="settings are not checked together, errors of users are tracebacks, output is noisy",
        until="it does all that",
    ),
    Replacement(
        ("fairseq_cli.hydra_train:add_defaults(cfg)",),
        by="eat.training.start:beginning",
        wraps=True,
        applies=_is_hydra_training,
        why="the same, before the workers start",
        until="the row above goes",
    ),
    Replacement(
        (
            "fairseq.distributed.utils:call_main(cfg, main, kwargs)",
            "fairseq.distributed.utils:distributed_main(i, main, cfg, kwargs)",
        ),
        by="eat.training.workers:starting",
        wraps=True,
        applies=_is_training,
        why="without GPUs, torchrun starts trainings that do not know each other, and Slurm none;"
        " a signal ends the process that started the workers with a traceback",
        until="it starts workers on CPUs, and passes signals on",
    ),
    Replacement(
        ("fairseq.models.distributed_fairseq_model:DistributedDataParallel",),
        by="eat.training.workers:on_any_device",
        wraps=True,
        why="passes device_ids for a model on the CPU as well, which torch refuses",
        until="it passes them for models on a GPU only",
    ),
    Replacement(
        (
            "fairseq.optim.fp16_optimizer:_FP16OptimizerMixin.build_fp32_params"
            "(args, params, flatten)",
        ),
        by="eat.training.masters:keep_masters",
        wraps=True,
        why="with fp16 and bf16 a resumed run starts from rounded weights",
        until="checkpoints hold the float32 weights, and runs resume from them",
    ),
    Replacement(
        (
            "fairseq.optim.fp16_optimizer:_FP16OptimizerMixin.zero_grad(self)",
            "fairseq.optim.fp16_optimizer:_FP16OptimizerMixin._multiply_factor",
        ),
        by="eat.training.masters:drop_gradients",
        wraps=True,
        why="with bf16 the gradients of the update after a skipped one are scaled down twice; keeps"
        " float32 gradients, and writes zeros over them, for nothing",
        until="it resets the factor without a loss scaler as well, and frees gradients",
    ),
    *(
        Replacement(
            (
                f"fairseq.optim.fp16_optimizer:_FP16OptimizerMixin.{function}",
                "fairseq.optim.dynamic_loss_scaler:DynamicLossScaler._last_overflow_iter",
            ),
            by=f"eat.training.masters:{by}",
            wraps=True,
            why="with fp16 the loss scale of a resumed run grows at other updates",
            until="checkpoints hold the counters of the loss scaler",
        )
        for function, by in (
            ("state_dict(self)", "store_counters"),
            ("load_state_dict(self, state_dict, optimizer_overrides)", "load_counters"),
        )
    ),
    Replacement(
        (
            "fairseq.data.iterators:EpochBatchIterator.state_dict(self)",
            "fairseq.data.iterators:EpochBatchIterator.load_state_dict(self, state_dict)",
            "fairseq.data.iterators:EpochBatchIterator._get_iterator_for_epoch"
            "(self, epoch, shuffle, fix_batches_to_gpus, offset)",
            "fairseq.data.iterators:EpochBatchIterator.buffer_size",
        ),
        by="epochs.ResumableIterator, epochs.ReadAhead, shared_memory.in_shared_memory",
        why="its position counts one worker's batches; its BufferedIterator's thread never stops;"
        " it waits for ever for a batch that does not fit into /dev/shm",
        upstream="#781 (another batch size resumes at another place)",
        until="it stores its position in clips, and its thread can be stopped",
    ),
    Replacement(
        (
            "fairseq.data.iterators:EpochBatchIterator.ordered_batches"
            "(self, epoch, fix_batches_to_gpus, shuffle)",
            "fairseq.data.iterators:EpochBatchIterator.persistent_workers",
            "fairseq.data.iterators:EpochBatchIterator.reuse_dataloader",
        ),
        by="epochs.ResumableIterator",
        # PyPI's fairseq 0.12.2 is older than this fault.
        applies=lambda: not any(find_problems("fairseq.data.iterators:FrozenBatchSampler")),
        why="never frees the processes of an epoch: persistent workers, and a reference cycle",
        upstream="#4524 (persistent workers run out of memory)",
        until="iterators that are not used again have no persistent workers",
    ),
    Replacement(
        (
            "fairseq.optim:FairseqOptimizer.clip_grad_norm(self, max_norm, aggregate_norm_fn)",
            "fairseq.optim.fp16_optimizer:FP16Optimizer.fp32_optimizer",
            "fairseq.optim.fp16_optimizer:FP16Optimizer.scaler",
            "fairseq.optim.dynamic_loss_scaler:DynamicLossScaler.loss_scale",
        ),
        by="gradients.GradientGuard, eat.optim.adamw.EatAdamW",
        why="one update without finite gradients ends the run, and no message names its clips",
        upstream="#4118 (gradients are Nan/Inf), #1529 (minimum loss scale reached)",
        until="it skips such an update and tells the task",
    ),
    Replacement(
        (
            "fairseq.tasks:FairseqTask.train_step"
            "(self, sample, model, criterion, optimizer, update_num, ignore_grad)",
        ),
        by="guarded.GuardedTask.train_step",
        why="a finished run that is started again makes one more update",
        until="it compares max_update with the checkpoint before it trains",
    ),
    Replacement(
        ("fairseq.logging.metrics:get_active_aggregators()",),
        by="eat.tasks.classification.Predictions",
        why="its meters are means over batches, and mAP is a metric of the whole set",
        until="it logs metrics of whole validation sets",
    ),
)


def install() -> None:
    """Verify the whole table, then replace what is to be replaced; the fairseq door calls this.

    The door is opened twice: by the recipe before the workers start, and by fairseq in each. A
    RuntimeError says that the installed fairseq is not what the table expects.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name == _PROGRAM:  # python -m fairseq_cli.hydra_train
        sys.modules.setdefault(_PROGRAM, sys.modules["__main__"])
    rows = [row for row in TABLE if row.applies()]
    problems = [problem for row in rows for part in row.parts for problem in find_problems(part)]
    if problems:
        raise RuntimeError(
            f"{_installed_fairseq()} cannot be used safely: {'; '.join(problems)}. EAT is tested"
            f" with {TESTED}: install one of them, or adapt eat/training/replacements.py"
        )
    for row in rows:
        if ":" in row.by and row not in _installed:
            _installed.append(row)
            owner, name, _ = _locate(row.parts[0])
            by = pkgutil.resolve_name(row.by)
            setattr(owner, name, around(getattr(owner, name), by) if row.wraps else by)


def around(original: Callable[..., Any], by: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls `by` with the original and the arguments."""

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        return by(original, *args, **kwargs)

    replaced.by = by
    return replaced


def find_problems(part: str) -> Iterator[str]:
    """What is wrong with one of `Replacement.parts` in the installed fairseq."""
    try:
        owner, name, expected = _locate(part)
    except (ImportError, AttributeError) as error:
        yield f"{part} is missing ({error})"
        return
    if not _has(owner, name):
        yield f"{part} is missing"
    elif expected is not None:
        found = ", ".join(inspect.signature(getattr(owner, name)).parameters)
        if found != expected:
            yield f"{part} takes ({found})"


def _locate(part: str) -> Tuple[Any, str, Optional[str]]:
    """The module or class that holds a part, its name there, and its parameters if they matter."""
    path, bracket, parameters = part.rstrip(")").partition("(")
    module, _, names = path.partition(":")
    owner, _, name = names.rpartition(".")
    return pkgutil.resolve_name(f"{module}:{owner}"), name, parameters if bracket else None


def _has(owner: Any, name: str) -> bool:
    """Whether a module or class has something of that name, or sets it in `__init__`."""
    makers = [vars(base).get("__init__") for base in getattr(owner, "__mro__", ())]
    codes = [maker.__code__ for maker in makers if inspect.isfunction(maker)]
    return hasattr(owner, name) or any(name in code.co_names for code in codes)


def _installed_fairseq() -> str:
    names = metadata.packages_distributions().get("fairseq", ())
    return " and ".join(f"{name} {metadata.version(name)}" for name in names) or "fairseq"
