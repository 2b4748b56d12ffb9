"""The fairseq data set of fine-tuning: clips with labels, augmented."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from eat.audio.augment import AugmentationConfig, add_noise, mask_spectrogram, mix_up, roll_waveform
from eat.randomness import Purpose

from .datasets import SpectrogramDataset
from .event_targets import cover_steps, crop_events, roll_events
from .events import EventTable
from .labels import LabelTable
from .sampling import balancing_weights


class ClassificationDataset(SpectrogramDataset):
    """Spectrograms with the targets of a classifier.

    The augmentation of a clip depends on (seed, epoch, its number in the manifest), that of a batch
    on (seed, epoch, its clips), and on nothing else. For an epoch `num_samples` clips are drawn
    without replacement, those of rare classes more often; None: all. With `weights` that holds
    within each corpus.

    With `events` the targets are those of steps of time, `steps_per_row` for each row of patches,
    and augmentation moves them along.
    """

    def __init__(
        self,
        *args: Any,
        labels: LabelTable,
        events: Optional[EventTable] = None,
        steps_per_row: int = 1,
        augmentation: Optional[AugmentationConfig] = None,
        num_samples: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, num_samples=num_samples, **kwargs)
        self.labels, self.events, self.steps_per_row = labels, events, steps_per_row
        self.augmentation = augmentation
        if augmentation is not None:
            augmentation.check()
        if num_samples is not None and not 1 <= num_samples <= len(self):
            raise ValueError(
                f"task.num_samples: found {num_samples}, expected 1 to {len(self)}, the clips of"
                f" {self.manifest.file}; null takes all of them"
            )

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The `index`-th kept clip with `target` (C,), 1 at its classes.

        With events it is (N, C), the share of each step that events of a class cover, and
        `num_frames` is how many frames are no padding.
        """
        sample = super().__getitem__(index) if self.events is None else self._over_time(index)
        if self.events is None:
            sample["target"] = self.labels.targets(sample["id"] % len(self.labels))
        # float64, which fairseq does not cast to half precision: mixed targets are fractions.
        return {**sample, "target": torch.from_numpy(sample["target"]).double()}

    def _over_time(self, index: int) -> Dict[str, Any]:
        """A clip with its events, which go where augmentation moves what they are of."""
        clip, log_mel = self._number(index), self.log_mel
        rate_hz, frame_seconds = log_mel.reading_rate_hz, log_mel.frame_seconds
        waveform, start, moved_samples = self._read(clip)
        seconds = len(waveform) / rate_hz
        events = self.events.events(clip % len(self.events))
        events = crop_events(events, start / rate_hz, seconds)
        events = roll_events(events, moved_samples / rate_hz, seconds)
        source, moved_frames = self._spectrogram(clip, waveform)
        frames = self._count_frames(waveform)
        seconds = frames * frame_seconds
        if moved_frames:
            events = crop_events(events, 0.0, seconds)
            events = roll_events(events, moved_frames * frame_seconds, seconds)
        num_steps = source.shape[1] // log_mel.patch_size * self.steps_per_row
        step_seconds = log_mel.step_seconds / self.steps_per_row
        target = cover_steps(events, num_steps, step_seconds, seconds, self.events.num_classes)
        sample = {"id": clip, "source": source, "target": target}
        return {**sample, "num_frames": frames, "events": events}

    def _read(self, clip: int) -> Tuple[Tensor, int, int]:
        waveform, start, _ = super()._read(clip)
        if self.augmentation is None or not self.augmentation.roll:
            return waveform, start, 0
        waveform, offset = roll_waveform(waveform, self._generator(Purpose.ROLL, clip))
        return waveform, start, offset

    def _spectrogram(self, clip: int, waveform: Tensor) -> Tuple[Tensor, int]:
        source, _ = super()._spectrogram(clip, waveform)
        if self.augmentation is None or not self.augmentation.noise:
            return source, 0
        # Padding stays in its place where it has to be known.
        rotated = None if self.events is None else self._count_frames(waveform)
        return add_noise(source, self._generator(Purpose.NOISE, clip), rotated)

    def _count_frames(self, waveform: Tensor) -> int:
        """Frames of a spectrogram that are no padding."""
        return min(max(1, self.log_mel.num_frames(len(waveform))), self.size(0))

    def _draw_weights(self) -> np.ndarray:
        if self.num_samples is None:
            return super()._draw_weights()
        return balancing_weights(self.labels)[self.clips]

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Stack clips into `net_input = {source (B, 1, T, F)}` and `target` (B, C) float64.

        `num_labels` is the sum of the targets, counted here so that no GPU is waited for. With
        events `target` is (B, N, C), `num_frames` (B,) is how many frames are no padding, and the
        network gets them as `lengths` if there is padding. Without augmentation there are also the
        `events` of each clip, for metrics.

        Mixup comes before SpecAugment, as in the released code; a mixed clip is as long as the
        longer one.
        """
        batch = super().collater(samples)
        if not batch:
            return {}
        batch["target"] = torch.stack([sample["target"] for sample in samples])
        batch["num_labels"] = batch["target"].float().sum().item()
        if self.events is not None:
            batch["num_frames"] = torch.tensor([sample["num_frames"] for sample in samples])
            if self.augmentation is None:
                batch["events"] = [sample["events"] for sample in samples]
        return batch if self.on_device else self._augment(batch, batch["id"].tolist())

    def finish(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        """See `SpectrogramDataset`; with the augmentation of whole batches."""
        return self._augment(super().finish(batch), [clip for clip, _ in batch["clips"]])

    def _augment(self, batch: Dict[str, Any], clips: List[int]) -> Dict[str, Any]:
        """The batch with its sources and targets mixed, and its sources masked."""
        config, inputs = self.augmentation, batch["net_input"]
        if config is not None:
            source, ratio = inputs["source"], config.spec_augment_ratio
            generator = self._generator(Purpose.MIXUP, *clips)
            if config.mixup_alpha > 0 and generator.random() < config.mixup_prob:
                mixed = mix_up(source, batch["target"], config.mixup_alpha, generator)
                source, batch["target"] = mixed
                if "num_frames" in batch:
                    frames = batch["num_frames"]
                    batch["num_frames"] = torch.maximum(frames, frames.flip(0))
            if ratio > 0:
                generators = (self._generator(Purpose.SPEC_AUGMENT, clip) for clip in clips)
                source = torch.stack([mask_spectrogram(x, ratio, next(generators)) for x in source])
            inputs["source"] = source
        # Without padding the network needs no mask, which would cost time.
        if "num_frames" in batch and batch["num_frames"].min() < inputs["source"].shape[2]:
            inputs["lengths"] = batch["num_frames"]
        return batch
