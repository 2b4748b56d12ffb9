"""The fairseq data set of fine-tuning: clips with labels, augmented."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from eat.audio.augment import AugmentationConfig, add_noise, mask_spectrogram, mix_up, roll_waveform
from eat.randomness import Purpose

from .datasets import SpectrogramDataset
from .labels import LabelTable
from .sampling import balancing_weights


class ClassificationDataset(SpectrogramDataset):
    """Spectrograms with the targets of a classifier.

    The augmentation of a clip depends on (seed, epoch, its number in the manifest), that of a batch
    on (seed, epoch, its clips), and on nothing else. For an epoch `num_samples` clips are drawn
    without replacement, those of rare classes more often; None: all. With `weights` that holds
    within each corpus.
    """

    def __init__(
        self,
        *args: Any,
        labels: LabelTable,
        augmentation: Optional[AugmentationConfig] = None,
        num_samples: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, num_samples=num_samples, **kwargs)
        self.labels = labels
        self.augmentation = augmentation
        if augmentation is not None:
            augmentation.check()
        if num_samples is not None and not 1 <= num_samples <= len(self):
            raise ValueError(
                f"task.num_samples: found {num_samples}, expected 1 to {len(self)}, the clips of"
                f" {self.manifest.file}; null takes all of them"
            )

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The `index`-th kept clip with `target` (C,), 1 at its classes."""
        sample = super().__getitem__(index)
        # float64, which fairseq does not cast to half precision: mixed targets are fractions.
        target = torch.from_numpy(self.labels.targets(sample["id"] % len(self.labels))).double()
        return {**sample, "target": target}

    def _waveform(self, clip: int) -> Tensor:
        waveform = super()._waveform(clip)
        if self.augmentation is not None and self.augmentation.roll:
            return roll_waveform(waveform, self._generator(Purpose.ROLL, clip))
        return waveform

    def _spectrogram(self, clip: int, waveform: Tensor) -> Tensor:
        source = super()._spectrogram(clip, waveform)
        if self.augmentation is not None and self.augmentation.noise:
            return add_noise(source, self._generator(Purpose.NOISE, clip))
        return source

    def _draw_weights(self) -> np.ndarray:
        if self.num_samples is None:
            return super()._draw_weights()
        return balancing_weights(self.labels)[self.clips]

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Stack clips into `net_input = {source (B, 1, T, F)}` and `target` (B, C) float64.

        `num_labels` is the sum of the targets, counted here so that no GPU is waited for.
        Mixup comes before SpecAugment, as in the released code.
        """
        batch = super().collater(samples)
        if not batch:
            return {}
        batch["target"] = torch.stack([sample["target"] for sample in samples])
        batch["num_labels"] = batch["target"].float().sum().item()
        return batch if self.on_device else self._augment_batch(batch, batch["id"].tolist())

    def finish(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        """See `SpectrogramDataset`; with the augmentation of whole batches."""
        return self._augment_batch(super().finish(batch), [clip for clip, _ in batch["clips"]])

    def _augment_batch(self, batch: Dict[str, Any], clips: List[int]) -> Dict[str, Any]:
        inputs = batch["net_input"]
        inputs["source"], batch["target"] = self._augment(inputs["source"], batch["target"], clips)
        return batch

    def _augment(self, source: Tensor, target: Tensor, clips: List[int]) -> Tuple[Tensor, Tensor]:
        config = self.augmentation
        if config is None:
            return source, target
        generator, ratio = self._generator(Purpose.MIXUP, *clips), config.spec_augment_ratio
        if config.mixup_alpha > 0 and generator.random() < config.mixup_prob:
            source, target = mix_up(source, target, config.mixup_alpha, generator)
        if ratio > 0:
            generators = (self._generator(Purpose.SPEC_AUGMENT, clip) for clip in clips)
            source = torch.stack([mask_spectrogram(x, ratio, next(generators)) for x in source])
        return source, target
