"""What both tasks have in common: manifests, a front end, and the start of a training."""

import logging
from dataclasses import dataclass, replace
from os.path import dirname
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from fairseq.distributed import utils as distributed
from fairseq.utils import set_torch_seed
from omegaconf import II, MISSING, OmegaConf
from torch import nn

from eat.audio import LogMel, RangeConfig, ReadingConfig
from eat.checkpoint import Checkpoint
from eat.data.corpora import check_weights, folders_of, join_manifests
from eat.data.manifest import Manifest
from eat.figures.tensorboard import ValidationFigures
from eat.machine import keep_freed_memory
from eat.settings import part_of, setting
from eat.training.guarded import GuardConfig, GuardedTask
from eat.training.start import record_start
from eat.training.stopping import save_when_asked

logger = logging.getLogger(__name__)

FILTER_BANKS = ("worker", "device")


@dataclass
class AudioTaskConfig(RangeConfig, ReadingConfig, GuardConfig):
    """Data and front end."""

    data: Any = setting(
        "folder with the manifests, {train_subset}.tsv and {valid_subset}.tsv; or a list of such"
        " folders",
        MISSING,
    )
    weights: Optional[List[float]] = setting(
        "the share of each folder of task.data among the training clips of an epoch, such as"
        " [3,1]; null: all clips once",
        None,
    )
    mean: float = setting("mean of the log-mel values (AudioSet: -4.268)", -4.268)
    std: float = setting("standard deviation of the log-mel values (AudioSet: 4.569)", 4.569)
    target_length: int = setting("frames of hop_ms per clip, a multiple of 16 (10 s: 1024)", 1024)
    min_samples: int = setting(
        "clips with fewer samples in the manifest are left out (released: 10000)", 10_000
    )
    filter_bank: str = setting(
        "where training clips become spectrograms: worker, in the processes that read them; device,"
        " where the network is: a worker then reads several times as many clips of 16 kHz in a"
        " second (validation: always worker)",
        "worker",
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

        A ValueError for no data, weights that do not fit it, or fp16 without a GPU.
        """
        if OmegaConf.is_missing(cfg, "data"):
            raise ValueError(
                "task.data: not set, expected the folder of the manifests,"
                " e.g. task.data=manifests/mine"
            )
        if cfg.filter_bank not in FILTER_BANKS:
            raise ValueError(
                f"task.filter_bank: found {cfg.filter_bank!r}, expected one of {FILTER_BANKS}"
            )
        check_weights(cfg.weights, len(folders_of(cfg.data)))
        is_on_cpu = cfg.cpu or not torch.cuda.is_available()
        if cfg.fp16 and is_on_cpu:
            raise ValueError(
                "common.fp16: found true without a GPU, expected common.fp16=false"
                " (and common.bf16=true if this CPU multiplies bf16 in hardware)"
            )
        if is_on_cpu:
            keep_freed_memory()
        return cls(cfg)

    def clips_of(self, split: str) -> Dict[str, Any]:
        """The arguments of a `SpectrogramDataset` of a split; only training is random.

        A FileNotFoundError names a manifest `{split}.tsv` that is missing in a folder of `data`, a
        ManifestError a bad line in one, another ValueError an impossible setting.
        """
        cfg, is_training = self.cfg, split == self.cfg.train_subset
        reading = part_of(ReadingConfig, cfg)
        reading.check()
        parts = [Manifest(Path(folder) / f"{split}.tsv") for folder in folders_of(cfg.data)]
        return {
            "manifest": join_manifests(parts),
            "log_mel": self.log_mel,
            "min_samples": cfg.min_samples,
            "shuffle": is_training,
            "seed": cfg.seed,
            "reading": reading if is_training else replace(reading, crop="start"),
            "weights": list(cfg.weights) if is_training and cfg.weights else None,
            "on_device": is_training and cfg.filter_bank == "device",
        }

    @property
    def log_mel(self) -> LogMel:
        """The front end; a ValueError for impossible settings."""
        cfg = self.cfg
        sizes = cfg.target_length, cfg.num_mel_bins, cfg.patch_size
        log_mel = LogMel(cfg.mean, cfg.std, *sizes, **vars(part_of(RangeConfig, cfg)))
        log_mel.mel_weights()  # in workers that are forked they are there, and so is a warning
        return log_mel

    def compare_front_ends(self, checkpoint: Checkpoint) -> None:
        """Warn if the weights to start from were trained with other rates or another range."""
        before, now = checkpoint.front_end(), self.log_mel
        if before.heard != now.heard:
            logger.warning(
                "model.init_from: %s was trained on %s; task.sample_rate_hz, low_hz, high_hz,"
                " hop_ms and speed make it %s: what the encoder learnt of pitch and time is of"
                " other sounds now",
                *(checkpoint.path, before.heard, now.heard),
            )

    def with_source(self, sample: Dict[str, Any], model: nn.Module) -> Dict[str, Any]:
        """The batch with its spectrograms, in the model's precision; see `task.filter_bank`."""
        if "waveforms" not in sample:
            return sample
        sample = self.datasets[self.cfg.train_subset].finish(sample)
        inputs = sample["net_input"]
        inputs["source"] = inputs["source"].to(next(model.parameters()).dtype)
        return sample

    def kind_of(self, split: str, clip: int) -> str:
        """What a clip is, for the colours of a figure: the folder it is in."""
        return dirname(self.datasets[split].manifest.relative_path(clip)) or "."

    def begin_epoch(self, epoch: int, model: nn.Module) -> None:
        """Called by fairseq before each epoch; the first call is recorded as the run's start."""
        super().begin_epoch(epoch, model)
        if not self._has_begun:
            self._has_begun = True
            save_when_asked()
            record_start(self.cfg.save_dir, epoch, model, self.datasets)

    def begin_valid_epoch(self, epoch: int, model: nn.Module) -> None:
        """Called by fairseq before each validation; draws its figures for TensorBoard."""
        super().begin_valid_epoch(epoch, model)
        # The noise in place of hidden patches; a run that was stopped here draws the same again.
        set_torch_seed(self.cfg.seed + self.num_updates)
        if self._figures is not None:
            # With dataset.valid_subset=train there is no other split.
            train = self.cfg.train_subset
            split = next((name for name in self.datasets if name != train), train)
            self._figures.write(
                self.datasets[split],
                lambda clip: self.kind_of(split, clip),
                model.encoder,
                self.num_updates,
            )

    def has_sharded_data(self, split: str) -> bool:
        """False: `data` has no parts for single epochs, even with a colon; fairseq asks."""
        return False
