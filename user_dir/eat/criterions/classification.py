"""The loss of fine-tuning as the criterion `eat_classification`."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn

from eat.evaluation.event_metrics import EVENT_METRICS
from eat.evaluation.metrics import METRICS
from eat.nn.classifier import ranking_scores
from eat.settings import setting

# The function that turns the logits of each loss into probabilities.
ACTIVATIONS = {"bce": "sigmoid", "cross_entropy": "softmax"}
REDUCTIONS = ("labels", "clips")


def classification_loss(
    logits: Tensor, targets: Tensor, loss: str, weight: Optional[Tensor] = None
) -> Tensor:
    """The loss "bce" (each class by itself) or "cross_entropy", summed over clips and classes.

    `logits` are (B, C) float32, `targets` (B, C) in [0, 1], fractions after mixup. Those of "bce"
    may be (B, N, C) over time, with a `weight` (B, N, 1) of the steps.
    """
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(logits, targets, weight, reduction="sum")
    return -(targets * logits.log_softmax(dim=1)).sum()


def valid_steps(num_frames: Tensor, num_steps: int, frames_per_step: int) -> Tensor:
    """Which steps of clips with so many frames (B,) hold one or more, (B, num_steps) bool."""
    steps = torch.arange(num_steps, device=num_frames.device)
    return steps * frames_per_step < num_frames.unsqueeze(1)


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
        " (released: ESC-50, Speech Commands). With task.labels=time the labels are the sum of the"
        " targets of all steps, at least 1",
        "labels",
    )
    label_smoothing: float = setting(
        "share of a target that goes to all classes (ESC-50: 0.1)", 0.0
    )
    metric: str = setting(
        "validation metric: mAP, or accuracy if each clip has one class; with task.labels=time mAP"
        " of the steps, event_f1, segment_f1, psds or psds_macro",
        "mAP",
    )


@register_criterion("eat_classification", dataclass=ClassificationConfig)
class ClassificationCriterion(FairseqCriterion):
    """Binary or categorical cross-entropy with soft targets.

    With labels in time it is that of all steps that are no padding. In validation the log also
    holds `scores` (B, C) or (B, N, C), which the task takes out.
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
        num_clips, weight = len(targets), None
        # Clips may have no events: without the 1 a batch of them would be divided by 0.
        is_by_labels = self.cfg.reduction == "labels"
        sample_size = max(1.0, sample["num_labels"]) if is_by_labels else num_clips
        share = self.cfg.label_smoothing if self.training else 0.0  # goes evenly to all classes
        targets = targets * (1 - share) + share / targets.shape[-1]
        if "num_frames" in sample:
            num_steps = targets.shape[1]
            size = sample["net_input"]["source"].shape[2] // num_steps
            weight = valid_steps(sample["num_frames"], num_steps, size).unsqueeze(2).to(logits)
        loss = classification_loss(logits, targets, self.cfg.loss, weight)
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
    choices = {"loss": ACTIVATIONS, "reduction": REDUCTIONS, "metric": METRICS + EVENT_METRICS}
    for key, allowed in choices.items():
        found = getattr(cfg, key)
        if found not in allowed:
            listed = ", ".join(allowed)
            raise ValueError(f"criterion.{key}: found {found!r}, expected one of {listed}")
    if not 0 <= cfg.label_smoothing < 1:
        raise ValueError(
            f"criterion.label_smoothing: found {cfg.label_smoothing}, expected 0 to below 1"
        )
