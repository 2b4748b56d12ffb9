"""The task `eat_pretraining`: clips and masks from audio manifests."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from torch import nn

from eat.data.datasets import PretrainingDataset
from eat.nn import MaskingConfig
from eat.settings import linked, part_of, setting
from eat.training.gradients import TrainingHealthError
from eat.training.probing import Prober, ProbingConfig

from .audio import AudioTask, AudioTaskConfig

_COLLAPSE = (
    "task.min_{key}: found {key} {found:.4f}, expected at least {low:g}: the run has collapsed, to"
    " nearly the same vector for all patches. Go on from an earlier checkpoint with"
    " checkpoint.restore_file, or start again, with a lower optimization.lr, a longer"
    " lr_scheduler.warmup_updates or a model.ema_decay nearer to 1, on clips that are not silent"
    " (`eat manifest check` tells). task.min_{key}=0 goes on regardless"
)


@dataclass
class PretrainingTaskConfig(linked(MaskingConfig, "model"), ProbingConfig, AudioTaskConfig):
    """Data and front end. The settings of the masks are links to the model's section."""

    min_target_var: float = setting(
        "stop when target_var falls below this: the teacher's targets are the same for all patches"
        " (healthy: near 1)",
        0.1,
    )
    min_prediction_var: float = setting(
        "stop when prediction_var falls below this: the student predicts the same for all patches"
        " (healthy: above 0.3 and rising)",
        0.01,
    )
    collapse_after_updates: int = setting(
        "check target_var and prediction_var from this update on", 5000
    )


@register_task("eat_pretraining", dataclass=PretrainingTaskConfig)
class PretrainingTask(AudioTask):
    """Serve masked clips, and move the teacher after each step of the optimizer."""

    cfg: PretrainingTaskConfig

    def __init__(self, cfg: PretrainingTaskConfig) -> None:
        super().__init__(cfg)
        self._prober: Optional[Prober] = None
        self._probe_scores: Dict[str, float] = {}  # of the validation that goes on

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Open `{data}/{split}.tsv`, in each folder of `data`; for validation also `probe_data`.

        Raises:
            FileNotFoundError: there is no such manifest.
            ManifestError: a bad line.
            ValueError: impossible lengths, statistics or masks, or no labels in `probe_data`.
        """
        self.datasets[split] = PretrainingDataset(
            **self.clips_of(split), masking=part_of(MaskingConfig, self.cfg)
        )
        if self.cfg.probe_data and self._prober is None:
            log_mel, probing = self.datasets[split].log_mel, part_of(ProbingConfig, self.cfg)
            self._prober = Prober(probing, log_mel, self.cfg.seed)

    def begin_valid_epoch(self, epoch: int, model: nn.Module) -> None:
        """Called by fairseq before each validation; probes the encoders."""
        super().begin_valid_epoch(epoch, model)
        if self._prober is not None:
            self.stall.begin_batch()
            self._probe_scores = self._prober.measure(model, epoch, self.num_updates)

    def reduce_metrics(
        self, logging_outputs: List[Dict[str, Any]], criterion: FairseqCriterion
    ) -> None:
        """Log one batch of all workers; in validation also the scores of the probes."""
        super().reduce_metrics(logging_outputs, criterion)
        if not criterion.training:
            for name, value in self._probe_scores.items():
                metrics.log_scalar(name, value, weight=0, round=4)

    def optimizer_step(
        self, optimizer: FairseqOptimizer, model: nn.Module, update_num: int
    ) -> bool:
        """Step the optimizer, then the teacher.

        fairseq calls this before it may save, and not at all when fp16 gradients overflowed. So a
        checkpoint always holds student and teacher of the same update.
        """
        if not super().optimizer_step(optimizer, model, update_num):
            return False
        model.step_teacher(update_num + 1)
        return True

    def check_health(self, logging_outputs: List[Dict[str, Any]]) -> None:
        """Also check that targets and predictions still differ between patches.

        Raises:
            TrainingHealthError: they have collapsed.
        """
        super().check_health(logging_outputs)
        if self.num_updates < self.cfg.collapse_after_updates:
            return
        for key in ("target_var", "prediction_var"):
            low = self.cfg[f"min_{key}"]
            found = float(sum(log[key] for log in logging_outputs))
            found /= float(sum(log["sample_size"] for log in logging_outputs))
            if found < low:
                raise TrainingHealthError(_COLLAPSE.format(key=key, found=found, low=low))
