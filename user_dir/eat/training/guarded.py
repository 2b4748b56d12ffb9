"""The base of all tasks: what keeps a run of days alive, or ends it with an explanation."""

import logging
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import torch.distributed as dist
from fairseq.criterions import FairseqCriterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor, nn

from eat.settings import setting

from .bad_audio import POLICIES, BadAudio, ReplacingDataset
from .epochs import ResumableIterator
from .gradients import GradientGuard, TrainingHealthError
from .masters import hold_masters
from .stalling import StallGuard
from .stopping import Requests

logger = logging.getLogger(__name__)


@dataclass
class GuardConfig(FairseqDataclass):
    """What a run does about clips that cannot be read and updates that cannot be made."""

    bad_audio: str = setting(
        "clips that cannot be read: error stops at the first one; skip takes other clips in their"
        " place and lists them in bad_audio.tsv beside the checkpoints",
        "error",
    )
    max_bad_ratio: float = setting(
        "with skip: largest share of an epoch's clips that may be unreadable", 0.05
    )
    max_skipped_updates: int = setting(
        "stop after this many updates in a row without finite gradients", 10
    )
    save_interval_minutes: float = setting(
        "also save after this many minutes since the last such save; 0: never", 30.0
    )
    stall_minutes: float = setting(
        "end a worker that finishes no batch for so many minutes, as when another one was stopped"
        " or a disk does not answer; 0: never",
        15.0,
    )
    # Links: each of these is set once, in another section.
    log_interval: int = II("common.log_interval")
    save_dir: str = II("checkpoint.save_dir")
    train_subset: str = II("dataset.train_subset")
    max_update: int = II("optimization.max_update")


class GuardedTask(FairseqTask):
    """A task whose data sets are `SpectrogramDataset`s and whose optimizer is `eat_adamw`.

    Attributes:
        num_updates: updates that were made so far.
        requests: to stop, and to save by time.
        stall: ends this worker when nothing goes on.
    """

    cfg: GuardConfig

    def __init__(self, cfg: GuardConfig) -> None:
        super().__init__(cfg)
        if cfg.bad_audio not in POLICIES:
            raise ValueError(f"task.bad_audio: found {cfg.bad_audio!r}, expected error or skip")
        if not 0 <= cfg.max_bad_ratio <= 1:
            raise ValueError(f"task.max_bad_ratio: found {cfg.max_bad_ratio}, expected 0 to 1")
        self._bad_audio = BadAudio(os.path.join(cfg.save_dir, "bad_audio.tsv"), cfg.max_bad_ratio)
        self._gradients = GradientGuard(cfg.max_skipped_updates, self._name_clip)
        self.requests = Requests(cfg.save_interval_minutes)
        self.stall = StallGuard(cfg.stall_minutes, cfg.save_dir)
        self._num_reduced = 0
        self.num_updates = 0
        self._has_workers_that_agree = False

    def build_model(self, cfg: Any, *args: Any, **kwargs: Any) -> nn.Module:
        """Build the model; its checkpoints hold float32 weights.

        A ValueError names a setting that cannot be used by its key with the section.
        """
        try:
            model = super().build_model(cfg, *args, **kwargs)
        except ValueError as error:
            if str(error).partition(":")[0] not in cfg:
                raise
            raise ValueError(f"model.{error}") from error
        hold_masters(model)
        return model

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> ResumableIterator:
        """fairseq's iterator, made resumable, over a data set that replaces bad clips."""
        is_training = dataset is self.datasets.get(self.cfg.train_subset)
        if self.cfg.bad_audio == "skip":
            dataset = ReplacingDataset(dataset)
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        iterator = ResumableIterator(iterator, self.state_dict())
        if is_training:
            num_clips = sum(len(batch) for batch in iterator.frozen_batches)
            self._bad_audio.start_epoch(iterator.epoch, num_clips)
        return iterator

    def with_source(self, sample: Dict[str, Any], model: nn.Module) -> Dict[str, Any]:
        """The batch as the network takes it."""
        return sample

    def train_step(
        self,
        sample: Dict[str, Any],
        model: nn.Module,
        criterion: FairseqCriterion,
        optimizer: FairseqOptimizer,
        update_num: int,
        ignore_grad: bool = False,
    ) -> Tuple[Tensor, Any, Dict[str, Any]]:
        """Forward and backward; remembers the batch, in case its gradients are not finite.

        A run that has made all its updates and is started again exits with status 0.
        """
        if 0 < self.cfg.max_update <= update_num:
            logger.info("nothing to do: optimization.max_update=%d is reached", update_num)
            raise SystemExit(0)
        self.stall.begin_batch()
        if not self._has_workers_that_agree:
            _check_workers_agree(update_num)
            self._has_workers_that_agree = True
        self.num_updates = update_num
        self._gradients.before_batch(optimizer)
        sample = self.with_source(sample, model)
        loss, sample_size, log = super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad
        )
        self._gradients.after_batch(sample["id"], loss)
        log["bad_clips"] = 0 if ignore_grad else self._bad_audio.note(sample)
        return loss, sample_size, {**log, **self.requests.values()}

    def valid_step(
        self, sample: Dict[str, Any], model: nn.Module, criterion: FairseqCriterion
    ) -> Tuple[Tensor, Any, Dict[str, Any]]:
        """Forward in evaluation mode; StopAsked if the run stops without the other batches."""
        self.stall.begin_batch()
        self.requests.check()
        self._bad_audio.note(sample)
        sample = self.with_source(sample, model)
        loss, sample_size, log = super().valid_step(sample, model, criterion)
        return loss, sample_size, {**log, **self.requests.values()}

    def optimizer_step(
        self, optimizer: FairseqOptimizer, model: nn.Module, update_num: int
    ) -> bool:
        """Step the optimizer, unless the gradients are not finite; returns whether it did."""
        self.num_updates = update_num + 1
        if not self._gradients.allows_step(optimizer, update_num):
            return False
        super().optimizer_step(optimizer, model, update_num)
        return True

    def reduce_metrics(
        self, logging_outputs: List[Dict[str, Any]], criterion: FairseqCriterion
    ) -> None:
        """Log one update of all workers; every `common.log_interval` updates, check the run."""
        self.requests.reduce(logging_outputs)
        if not criterion.training:
            return super().reduce_metrics(logging_outputs, criterion)
        if self._gradients.skipped_last:  # its loss is NaN and must not enter the running means
            metrics.log_scalar("loss", float("nan"), weight=0, round=4)
        else:
            super().reduce_metrics(logging_outputs, criterion)
        self._bad_audio.count += sum(log["bad_clips"] for log in logging_outputs)
        metrics.log_scalar("bad_clips", self._bad_audio.count, weight=0)
        metrics.log_scalar("skipped_updates", self._gradients.num_skipped, weight=0)
        self._num_reduced += 1
        # Not at every update: reading a number from a GPU waits for it.
        if self._num_reduced % self.cfg.log_interval == 0:
            self.check_health(logging_outputs)

    def check_health(self, logging_outputs: List[Dict[str, Any]]) -> None:
        """Called every `common.log_interval` updates with the same sums in all workers.

        A TooMuchBadAudio or TrainingHealthError says that the run should not go on.
        """
        self._bad_audio.check()

    def _name_clip(self, clip: int) -> str:
        manifest = self.datasets[self.cfg.train_subset].manifest
        clip %= len(manifest)  # it may have come before, see `SpectrogramDataset`
        return f"{manifest.path(clip)} ({manifest.location(clip)})"


def _check_workers_agree(update_num: int) -> None:
    if not dist.is_initialized():
        return
    updates = [0] * dist.get_world_size()
    dist.all_gather_object(updates, update_num)
    if len(set(updates)) > 1:
        raise TrainingHealthError(
            f"checkpoint.save_dir: found workers that start at updates"
            f" {', '.join(map(str, updates))}, expected the same checkpoint for all: the folder has"
            " to be on a disk that they share"
        )
