"""The task `eat_pretraining`: clips and masks from audio manifests."""

from dataclasses import dataclass
from typing import Any

from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from omegaconf import II
from torch import nn

from eat.data.datasets import PretrainingDataset
from eat.nn import MaskingConfig

from .audio import AudioTask, AudioTaskConfig


@dataclass
class PretrainingTaskConfig(AudioTaskConfig):
    """Data and front end; what concerns the masks is set in the model's section."""

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
    ) -> None:
        """Step the optimizer, then the teacher.

        fairseq gets here only when gradients did not overflow, and before it may save: a
        checkpoint always holds student and teacher of the same update.
        """
        super().optimizer_step(optimizer, model, update_num)
        model.step_teacher(update_num + 1)
