"""The task `eat_pretraining`: clips and masks from audio manifests."""

from dataclasses import dataclass, field
from typing import Any, Dict, List

from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from omegaconf import II
from torch import nn

from eat.data.datasets import PretrainingDataset
from eat.nn import MaskingConfig
from eat.training.gradients import TrainingHealthError

from .audio import AudioTask, AudioTaskConfig

_COLLAPSE = (
    "task.min_{key}: found {key} {found:.4f}, expected at least {low:g}: the run has collapsed, to"
    " nearly the same vector for all patches. Go on from an earlier checkpoint with"
    " checkpoint.restore_file, or start again, with a lower optimization.lr, a longer"
    " lr_scheduler.warmup_updates or a model.ema_decay nearer to 1, on clips that are not silent"
    " (`eat manifest check` tells). task.min_{key}=0 goes on regardless"
)


@dataclass
class PretrainingTaskConfig(AudioTaskConfig):
    """Data and front end; what concerns the masks is set in the model's section."""

    min_target_var: float = field(
        default=0.1,
        metadata={
            "help": "stop when target_var falls below: the teacher sees the same in all patches"
            " (healthy: near 1)"
        },
    )
    min_prediction_var: float = field(
        default=0.01,
        metadata={
            "help": "stop when prediction_var falls below: the student predicts the same for all"
            " patches (healthy: above 0.3, rising)"
        },
    )
    collapse_after_updates: int = field(
        default=5000, metadata={"help": "updates from which on the two are looked at"}
    )
    num_clones: int = II("model.num_clones")
    mask_ratio: float = II("model.mask_ratio")
    mask_block_size: int = II("model.mask_block_size")
    mask_ratio_adjust: float = II("model.mask_ratio_adjust")


@register_task("eat_pretraining", dataclass=PretrainingTaskConfig)
class PretrainingTask(AudioTask):
    """Serve masked clips, and move the teacher after each step of the optimizer."""

    cfg: PretrainingTaskConfig

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Open `{data}/{split}.tsv`.

        Raises:
            FileNotFoundError: there is no such manifest.
            ManifestError: a bad line.
            ValueError: impossible lengths, statistics or masks.
        """
        cfg = self.cfg
        self.datasets[split] = PretrainingDataset(
            manifest=self.manifest(split),
            log_mel=self.log_mel,
            min_samples=cfg.min_samples,
            shuffle=self.is_for_training(split),
            reading=self.reading(split),
            masking=MaskingConfig(
                num_clones=cfg.num_clones,
                mask_ratio=cfg.mask_ratio,
                mask_block_size=cfg.mask_block_size,
                mask_ratio_adjust=cfg.mask_ratio_adjust,
            ),
            seed=cfg.seed,
        )

    def optimizer_step(
        self, optimizer: FairseqOptimizer, model: nn.Module, update_num: int
    ) -> bool:
        """Step the optimizer, then the teacher.

        fairseq gets here only when gradients did not overflow, and before it may save: a
        checkpoint always holds student and teacher of the same update.
        """
        if not super().optimizer_step(optimizer, model, update_num):
            return False
        model.step_teacher(update_num + 1)
        return True

    def check_health(self, logging_outputs: List[Dict[str, Any]]) -> None:
        """Also see that targets and predictions still differ between patches.

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
