"""What both tasks are made of: a folder of manifests, a front end, and fairseq's questions."""

from dataclasses import dataclass, field, replace
from os.path import dirname
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.distributed import utils as distributed
from omegaconf import II, MISSING, OmegaConf
from torch import nn

from eat.audio import LogMel, ReadingConfig
from eat.data.manifest import Manifest
from eat.figures.tensorboard import ValidationFigures
from eat.settings import part_of
from eat.training.guarded import GuardConfig, GuardedTask
from eat.training.memory import keep_freed_memory
from eat.training.recording import record_start


@dataclass
class AudioTaskConfig(ReadingConfig, GuardConfig):
    """Data and front end."""

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
    # Links: each of these is set once, in another section.
    num_mel_bins: int = II("model.num_mel_bins")
    patch_size: int = II("model.patch_size")
    seed: int = II("common.seed")
    fp16: bool = II("common.fp16")
    cpu: bool = II("common.cpu")
    tensorboard_logdir: Optional[str] = II("common.tensorboard_logdir")


class AudioTask(GuardedTask):
    """Clips of manifests as normalised spectrograms; the base of the registered tasks."""

    cfg: AudioTaskConfig

    def __init__(self, cfg: AudioTaskConfig) -> None:
        super().__init__(cfg)
        self._has_begun = False
        # Only the first worker draws.
        draws = cfg.tensorboard_logdir is not None and distributed.get_global_rank() == 0
        self._figures = ValidationFigures(cfg.tensorboard_logdir) if draws else None

    @classmethod
    def setup_task(cls, cfg: AudioTaskConfig, **kwargs: Any) -> "AudioTask":
        """Check what can be checked before anything is loaded.

        Raises:
            ValueError: no data, or fp16 without a GPU.
        """
        if OmegaConf.is_missing(cfg, "data"):
            raise ValueError(
                "task.data: not set, expected the folder of the manifests,"
                " e.g. task.data=manifests/mine"
            )
        is_on_cpu = cfg.cpu or not torch.cuda.is_available()
        if cfg.fp16 and is_on_cpu:
            raise ValueError(
                "common.fp16: found true without a GPU, expected common.fp16=false"
                " (and common.bf16=true if this CPU multiplies bf16 in hardware)"
            )
        if is_on_cpu:
            keep_freed_memory()
        return cls(cfg)

    def manifest(self, split: str) -> Manifest:
        """Open `{data}/{split}.tsv`.

        Raises:
            FileNotFoundError: there is no such manifest.
            ManifestError: a bad line.
        """
        return Manifest(Path(self.cfg.data) / f"{split}.tsv")

    def is_for_training(self, split: str) -> bool:
        """Whether a split is shuffled; others keep their order."""
        return split == self.cfg.train_subset

    def reading(self, split: str) -> ReadingConfig:
        """How the clips of a split are read; random parts are for training."""
        reading = part_of(ReadingConfig, self.cfg)
        reading.check()
        return reading if self.is_for_training(split) else replace(reading, crop="start")

    @property
    def log_mel(self) -> LogMel:
        """The front end of all splits."""
        cfg = self.cfg
        return LogMel(cfg.mean, cfg.std, cfg.target_length, cfg.num_mel_bins, cfg.patch_size)

    def kind_of(self, split: str, clip: int) -> str:
        """What a clip is, for the colours of a figure: the folder it is in."""
        return dirname(self.datasets[split].manifest.relative_path(clip)) or "."

    def begin_epoch(self, epoch: int, model: nn.Module) -> None:
        """Called by fairseq; the first time a training has begun, which is recorded."""
        super().begin_epoch(epoch, model)
        if not self._has_begun:
            self._has_begun = True
            record_start(self.cfg.save_dir, epoch, model, self.datasets)

    def begin_valid_epoch(self, epoch: int, model: nn.Module) -> None:
        """Called by fairseq before each validation, of which figures go to TensorBoard."""
        super().begin_valid_epoch(epoch, model)
        if self._figures is not None:
            # With dataset.valid_subset=train there is no other.
            train = self.cfg.train_subset
            split = next((name for name in self.datasets if name != train), train)
            self._figures.write(
                self.datasets[split],
                lambda clip: self.kind_of(split, clip),
                model.encoder,
                self.num_updates,
            )

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
