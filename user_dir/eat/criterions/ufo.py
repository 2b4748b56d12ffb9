"""The Utterance-Frame Objective (EAT section 3.2) as the criterion `ufo`."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple, Union

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn

from eat.nn.teacher import ema_decay
from eat.settings import setting
from eat.training.validation import (
    MomentsMeter,
    effective_rank,
    largest_rank,
    moments,
    validation_meter,
)

_ROWS_LOGGED = 1000


class UfoLosses(NamedTuple):
    """Summed losses of one batch; each is read as `losses.name` or `losses["name"]`."""

    frame_sum: Tensor  # squared errors / sqrt(D), summed over D and over the hidden patches
    utterance_sum: Tensor  # the same, summed over D and over the (clip, clone) rows
    num_masked: int  # M, hidden patches in the batch

    def __getitem__(self, key: Union[int, slice, str]) -> Any:
        return getattr(self, key) if isinstance(key, str) else tuple.__getitem__(self, key)


def ufo_losses(output: Mapping[str, Tensor]) -> UfoLosses:
    """Both losses of an output of `PretrainingModel`, before any averaging or weighting."""
    return UfoLosses(
        _scaled_squared_error(output["frame_predictions"], output["frame_targets"]),
        _scaled_squared_error(output["utterance_predictions"], output["utterance_targets"]),
        output["frame_predictions"].shape[0],
    )


def source_loss(output: Mapping[str, Tensor]) -> Tensor:
    """The summed loss of the mixtures' patches, the last half of all, against their sources."""
    targets = output["source_targets"]
    return _scaled_squared_error(output["frame_predictions"][-len(targets) :], targets)


def _scaled_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum over all elements of squared errors / sqrt(D), in float32."""
    error = F.mse_loss(prediction.float(), target.float(), reduction="sum")
    return error * prediction.shape[-1] ** -0.5


@dataclass
class UfoConfig(FairseqDataclass):
    """Weighting of the objective."""

    utterance_weight: float = setting(
        "weight of the utterance loss, both losses being means over their rows (released recipe:"
        " 192 = 12 clips x 16 clones; the paper's lambda = 1)",
        192.0,
    )
    source_weight: float = setting(
        "weight of the source retention loss of mixtures, a mean over their hidden patches"
        " (SSLAM: 1); without model.mixtures it has no effect",
        1.0,
    )


@register_criterion("ufo", dataclass=UfoConfig)
class UfoCriterion(FairseqCriterion):
    """Frame loss plus weighted utterance loss, and that of the sources of mixtures.

    loss / sample_size = mean over hidden patches of the frame term
                       + utterance_weight * mean over (clip, clone) of the utterance term
                       + source_weight * mean over hidden patches of mixtures of the source term,

    each term a squared error summed over D and divided by sqrt(D). The released code *sums* the
    utterance term over the clones of a GPU's clips, which makes its weight that number of
    rows, 12 x 16 = 192, times lambda. Here the weight is explicit and independent of the batch.
    The source term, SSLAM's source retention loss, is there with `model.mixtures` only.

    Validation also logs the effective ranks of the student's CLS tokens and patches.
    """

    def __init__(self, cfg: UfoConfig, task: Any) -> None:
        super().__init__(task)
        self.utterance_weight, self.source_weight = cfg.utterance_weight, cfg.source_weight

    def forward(
        self, model: nn.Module, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """Loss of one batch: (summed loss, sample size = hidden patches, sums to log)."""
        output = model(**sample["net_input"])
        losses = ufo_losses(output)
        num_rows = output["utterance_predictions"].shape[0]
        # fairseq divides the sum over workers by the summed sample sizes. Every row hides the
        # same number of patches, so this makes the utterance part a mean over all rows.
        utterance_sum = losses.utterance_sum * (losses.num_masked / num_rows)
        loss = losses.frame_sum + self.utterance_weight * utterance_sum
        log = {
            "loss": loss.detach(),
            "frame_loss": losses.frame_sum.detach(),
            "utterance_loss": utterance_sum.detach(),
            "target_var": _spread(output["frame_targets"]) * losses.num_masked,
            "prediction_var": _spread(output["frame_predictions"]) * losses.num_masked,
            "ema_decay": ema_decay(model.teacher.config, model.num_updates + 1) * losses.num_masked,
            "num_patches": output["mask"].numel(),
            "sample_size": losses.num_masked,
            "nsentences": sample["net_input"]["source"].shape[0],
            "ntokens": losses.num_masked,
        }
        if "source_targets" in output:
            # As for the utterance: a mean over the mixtures' patches, half of all.
            source_sum = 2 * source_loss(output)
            loss = loss + self.source_weight * source_sum
            log.update(loss=loss.detach(), source_loss=source_sum.detach())
        if not self.training:  # whole clips, as features are extracted of them
            tokens = model.encoder(sample["net_input"]["source"])
            log.update(cls_moments=moments(tokens[:, 0]), patch_moments=moments(tokens[:, 1:]))
        return loss, losses.num_masked, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: List[Dict[str, Any]]) -> None:
        """Log means over the hidden patches of all workers and accumulated batches."""
        total = {key: sum(log[key] for log in logging_outputs) for key in logging_outputs[0]}
        num_masked = total["sample_size"]
        means = ("loss", "frame_loss", "utterance_loss", "source_loss")
        for key in (*means, "target_var", "prediction_var"):
            if key in total:
                metrics.log_scalar(key, total[key] / num_masked, num_masked, round=4)
        metrics.log_scalar("mask_ratio", num_masked / total["num_patches"], num_masked, round=4)
        metrics.log_scalar("ema_decay", total["ema_decay"] / num_masked, weight=0, round=6)
        for tokens in ("cls", "patch") if "cls_moments" in total else ():  # in validation
            for statistic, key in ((effective_rank, "{}_rank"), (largest_rank, "max_{}_rank")):
                meter = validation_meter(key.format(tokens), partial(MomentsMeter, statistic))
                meter.update(total[f"{tokens}_moments"])

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All logged values are sums."""
        return True


@torch.no_grad()
def _spread(x: Tensor) -> Tensor:
    """Standard deviation over the rows of (N, D), averaged over D: near 0 after a collapse.

    One to two thousand evenly spaced rows are enough for a value in a log.
    """
    x = x[:: max(1, len(x) // _ROWS_LOGGED)].float()
    return (x.var(dim=0) + 1e-6).sqrt().mean()
