"""The task `eat_pretraining`: clips and masks from audio manifests."""

from dataclasses import dataclass, field
from typing import Any, Dict, List

from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from torch import nn

from eat.checkpoint import load_checkpoint
from eat.data.datasets import PretrainingDataset
from eat.nn import MaskingConfig
from eat.settings import linked, part_of
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
class PretrainingTaskConfig(linked(MaskingConfig, "model"), AudioTaskConfig):
    """Data and front end. The settings of the masks are links to the model's section."""

    min_target_var: float = field(
        default=0.1,
        metadata={
            "help": "stop when target_var falls below this: the teacher's targets are the same for"
            " all patches (healthy: near 1)"
        },
    )
    min_prediction_var: float = field(
        default=0.01,
        metadata={
            "help": "stop when prediction_var falls below this: the student predicts the same for"
            " all patches (healthy: above 0.3 and rising)"
        },
    )
    collapse_after_updates: int = field(
        default=5000,
        metadata={"help": "check target_var and prediction_var from this update on"},
    )


@register_task("eat_pretraining", dataclass=PretrainingTaskConfig)
class PretrainingTask(AudioTask):
    """Serve masked clips, and move the teacher after each step of the optimizer."""

    cfg: PretrainingTaskConfig

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Open `{data}/{split}.tsv`, in each folder of `data`.

        Raises:
            FileNotFoundError: there is no such manifest.
            ManifestError: a bad line.
            ValueError: impossible lengths, statistics or masks.
        """
        self.datasets[split] = PretrainingDataset(
            **self.clips_of(split), masking=part_of(MaskingConfig, self.cfg)
        )

    def build_model(self, cfg: Any, *args: Any, **kwargs: Any) -> nn.Module:
        """Build the model; warns if it starts from a checkpoint of another front end."""
        if cfg.init_from:
            self.compare_front_ends(load_checkpoint(cfg.init_from))
        return super().build_model(cfg, *args, **kwargs)

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
