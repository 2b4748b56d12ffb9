"""The loss of fine-tuning as the criterion `eat_classification`."""

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple, Union

import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn

from eat.evaluation.metrics import METRICS
from eat.nn.classifier import ranking_scores
from eat.settings import setting

# The function that turns the logits of each loss into probabilities.
ACTIVATIONS = {"bce": "sigmoid", "cross_entropy": "softmax"}
REDUCTIONS = ("labels", "clips")


def classification_loss(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    """The loss "bce" (each class by itself) or "cross_entropy", summed over clips and classes.

    `logits` are (B, C) float32, `targets` (B, C) in [0, 1], fractions after mixup.
    """
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return -(targets * logits.log_softmax(dim=1)).sum()


def smooth_targets(targets: Tensor, amount: float) -> Tensor:
    """Move the share `amount` of the targets (B, C) evenly to all classes."""
    return targets * (1 - amount) + amount / targets.shape[1]


@dataclass
class ClassificationConfig(FairseqDataclass):
    """Loss and metric of fine-tuning."""

    loss: str = setting(
        "bce: any number of classes at once (AudioSet; Speech Commands in the paper);"
        " cross_entropy: exactly one (ESC-50)",
        "bce",
    )
    reduction: str = setting(
        "divide the summed loss by the batch's labels (released code: AudioSet) or by its clips"
        " (released: ESC-50, Speech Commands)",
        "labels",
    )
    label_smoothing: float = setting(
        "share of a target that goes to all classes (ESC-50: 0.1)", 0.0
    )
    metric: str = setting("validation metric: mAP, or accuracy if each clip has one class", "mAP")


@register_criterion("eat_classification", dataclass=ClassificationConfig)
class ClassificationCriterion(FairseqCriterion):
    """Binary or categorical cross-entropy with soft targets.

    In validation the log also holds `scores` (B, C), which the task takes out.
    """

    def __init__(self, cfg: ClassificationConfig, task: Any) -> None:
        super().__init__(task)
        _check(cfg)
        self.cfg = cfg

    def forward(
        self, model: nn.Module, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, Union[int, float], Dict[str, Any]]:
        """Loss of one batch: (summed loss, labels or clips to divide by, sums to log)."""
        logits = model(**sample["net_input"]).float()
        targets = sample["target"].to(logits)
        num_clips = len(targets)
        sample_size = sample["num_labels"] if self.cfg.reduction == "labels" else num_clips
        if self.training and self.cfg.label_smoothing > 0:
            targets = smooth_targets(targets, self.cfg.label_smoothing)
        loss = classification_loss(logits, targets, self.cfg.loss)
        log = {"loss": loss.detach(), "sample_size": sample_size}
        log.update(nsentences=num_clips, ntokens=num_clips)
        if not self.training:
            log["scores"] = ranking_scores(logits, ACTIVATIONS[self.cfg.loss])
        return loss, sample_size, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: List[Dict[str, Any]]) -> None:
        """Log the mean loss of all workers and accumulated batches."""
        loss, sample_size = (
            sum(log[key] for log in logging_outputs) for key in ("loss", "sample_size")
        )
        metrics.log_scalar("loss", loss / sample_size, sample_size, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All logged values are sums."""
        return True


def _check(cfg: ClassificationConfig) -> None:
    choices = {"loss": ACTIVATIONS, "reduction": REDUCTIONS, "metric": METRICS}
    for key, allowed in choices.items():
        found = getattr(cfg, key)
        if found not in allowed:
            listed = ", ".join(allowed)
            raise ValueError(f"criterion.{key}: found {found!r}, expected one of {listed}")
    if not 0 <= cfg.label_smoothing < 1:
        raise ValueError(
            f"criterion.label_smoothing: found {cfg.label_smoothing}, expected 0 to below 1"
        )
