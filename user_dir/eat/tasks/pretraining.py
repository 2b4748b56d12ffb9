"""The task `eat_pretraining`: clips and masks from audio manifests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, OmegaConf
from torch import nn

from eat.audio import LogMel
from eat.data.datasets import PretrainingDataset
from eat.data.manifest import Manifest
from eat.nn import MaskingConfig


@dataclass
class PretrainingTaskConfig(FairseqDataclass):
    """Data and front end; what concerns the masks is set in the model's section."""

    data: str = field(
        default=MISSING,
        metadata={"help": "folder with the manifests, {train_subset}.tsv and {valid_subset}.tsv"},
    )
    mean: float = field(
        default=-4.268, metadata={"help": "mean of the log-mel values (AudioSet: -4.268)"}
    )
    std: float = field(
        default=4.569, metadata={"help": "their standard deviation (AudioSet: 4.569)"}
    )
    target_length: int = field(
        default=1024,
        metadata={"help": "frames of 10 ms per clip, a multiple of 16 (10 s: 1024)"},
    )
    min_samples: int = field(
        default=10_000,
        metadata={
            "help": "clips with fewer samples in the manifest are left out (released: 10000)"
        },
    )
    # Links: each of these is set once, in the model's or the common section.
    num_clones: int = II("model.num_clones")
    mask_ratio: float = II("model.mask_ratio")
    mask_block_size: int = II("model.mask_block_size")
    mask_ratio_adjust: float = II("model.mask_ratio_adjust")
    num_mel_bins: int = II("model.num_mel_bins")
    patch_size: int = II("model.patch_size")
    seed: int = II("common.seed")
    fp16: bool = II("common.fp16")
    cpu: bool = II("common.cpu")


@register_task("eat_pretraining", dataclass=PretrainingTaskConfig)
class PretrainingTask(FairseqTask):
    """Serve masked clips, and move the teacher after each step of the optimizer."""

    cfg: PretrainingTaskConfig

    @classmethod
    def setup_task(cls, cfg: PretrainingTaskConfig, **kwargs: Any) -> "PretrainingTask":
        """Check what can be checked before anything is loaded."""
        if OmegaConf.is_missing(cfg, "data"):
            raise ValueError(
                "task.data: not set, expected the folder of the manifests,"
                " e.g. task.data=manifests/mine"
            )
        if cfg.fp16 and (cfg.cpu or not torch.cuda.is_available()):
            raise ValueError(
                "common.fp16: found true without a GPU, expected common.fp16=false"
                " (and common.bf16=true if this CPU multiplies bf16 in hardware)"
            )
        return cls(cfg)

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Open `{data}/{split}.tsv`; training splits are shuffled, others keep their order.

        Raises:
            FileNotFoundError: there is no such manifest.
            ManifestError: a bad line.
            ValueError: impossible lengths, statistics or masks.
        """
        cfg = self.cfg
        self.datasets[split] = PretrainingDataset(
            manifest=Manifest(Path(cfg.data) / f"{split}.tsv"),
            log_mel=LogMel(cfg.mean, cfg.std, cfg.target_length, cfg.num_mel_bins, cfg.patch_size),
            min_samples=cfg.min_samples,
            shuffle=split.startswith("train"),
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

    def has_sharded_data(self, split: str) -> bool:
        """`data` is one folder, also if there is a colon in its name."""
        return False

    def max_positions(self) -> None:
        """No clip is too long: all are cropped."""
        return None

    @property
    def source_dictionary(self) -> None:
        """There are no tokens; fairseq asks."""
        return None

    @property
    def target_dictionary(self) -> None:
        """There are no tokens; fairseq asks."""
        return None
