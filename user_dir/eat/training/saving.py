"""When a training saves besides fairseq's intervals: at its end, by time, and when it is stopped.

These functions are put around fairseq's own; `replacements` says which, and why.
"""

import logging
import math
from typing import Any, Dict, NamedTuple, NoReturn, Optional

import fairseq_cli.train as fairseq_train
import torch.distributed as dist
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed

from .guarded import GuardedTask
from .record import LAST_CHECKPOINT
from .stopping import NOTHING_TO_SAVE, StopAsked, exit_status, requeue

logger = logging.getLogger(__name__)


def saving(validate_and_save, cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch) -> Any:
    """fairseq's function, which also saves after the last epoch, by time, and to stop."""
    arguments = cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch
    if not isinstance(task, GuardedTask):
        return validate_and_save(*arguments)
    if end_of_epoch and 0 < cfg.optimization.max_epoch < epoch_itr.next_epoch_idx:
        cfg.checkpoint.save_interval = cfg.dataset.validate_interval = 1
    try:
        task.requests.check()
        losses, should_stop = validate_and_save(*arguments)
    except StopAsked:
        _stop(cfg.checkpoint, trainer, epoch_itr, end_of_epoch)
    if task.requests.take_due_save() and not should_stop:
        checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
    return losses, should_stop


def finishing(train, cfg, trainer, task, epoch_itr) -> Any:
    """fairseq's function, which cannot stall; first it does what was due when the run was stopped.

    So a run that was stopped at an update after which it validates, or while it does, has the same
    validations as one that was never stopped.
    """
    if not isinstance(task, GuardedTask):
        return train(cfg, trainer, task, epoch_itr)
    with task.stall.watching():
        due = _finish(cfg, trainer, task, epoch_itr)
        return due or train(cfg, trainer, task, epoch_itr)


def _finish(cfg: Any, trainer: Any, task: GuardedTask, epoch_itr: Any) -> Any:
    """Validate and save if that was due; returns the losses and True if the run ends with that."""
    if epoch_itr.unfinished is None:
        return None
    place, epoch_itr.unfinished = Place(**epoch_itr.unfinished), None
    task.num_updates = trainer.get_num_updates()
    losses, should_stop = fairseq_train.validate_and_save(
        cfg, trainer, task, place, cfg.dataset.valid_subset.split(","), place.is_end
    )
    if should_stop:
        return losses, True
    if place.is_end:
        trainer.lr_step(place.epoch, losses[0])  # fairseq does so after each epoch
    return None


def keeping_best(save_checkpoint, cfg, trainer, epoch_itr, val_loss: Optional[float]) -> Any:
    """fairseq's function, for which a score of NaN is none: the best one so far stays the best."""
    is_number = val_loss is not None and not math.isnan(val_loss)
    return save_checkpoint(cfg, trainer, epoch_itr, val_loss if is_number else None)


class Place(NamedTuple):
    """Where an iterator was; for `save_checkpoint` it takes the iterator's place."""

    epoch: int
    is_end: bool  # of the epoch
    state: Dict[str, Any]

    @property
    def next_epoch_idx(self) -> int:
        """The epoch of the next update."""
        return self.epoch + self.is_end

    def end_of_epoch(self) -> bool:
        """Whether the epoch was over."""
        return self.is_end

    def state_dict(self) -> Dict[str, Any]:
        """The state to continue from."""
        return dict(self.state)


def _stop(cfg: Any, trainer: Any, epoch_itr: Any, end_of_epoch: bool) -> NoReturn:
    """Save in all workers, then end this one."""
    state = epoch_itr.state_dict()
    place = Place(epoch_itr.epoch, end_of_epoch, state)
    unfinished = place._replace(state={**state, "unfinished": place._asdict()})
    num_updates = trainer.get_num_updates()
    path = None
    if num_updates > 0:
        path = checkpoint_utils.save_checkpoint(cfg, trainer, unfinished, None)
    if dist.is_initialized():
        dist.barrier()  # a launcher may end all workers when the first one ends
    if distributed.get_global_rank() == 0:
        logger.info(_describe(cfg, num_updates, path is not None))
        requeue(logger.info)
    raise SystemExit(exit_status())


def _describe(cfg: Any, num_updates: int, is_saved: bool) -> str:
    if num_updates == 0:
        return NOTHING_TO_SAVE
    if not is_saved:
        return (
            f"stopped at update {num_updates}, not saved: checkpoint.no_save or"
            " checkpoint.no_last_checkpoints is true"
        )
    saved = f"stopped at update {num_updates}, saved in {cfg.save_dir}; the same command continues"
    has_other_start = cfg.restore_file != LAST_CHECKPOINT
    return f"{saved} with checkpoint.restore_file={LAST_CHECKPOINT}" if has_other_start else saved
