"""The fairseq data set of fine-tuning: clips with labels, augmented."""

from typing import Any, Dict, List, Optional

import numpy as np
import torch
from torch import Tensor

from eat.audio.augment import AugmentationConfig, add_noise, mask_spectrogram, mix_up, roll_waveform
from eat.randomness import Purpose

from .datasets import SpectrogramDataset
from .event_targets import cover_steps, crop_events, roll_events
from .events import Event, EventTable
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

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next, in seconds of the recording."""
        return self.log_mel.step_seconds / self.log_mel.patch_size

    @property
    def step_seconds(self) -> float:
        """From one step of the targets in time to the next, in seconds of the recording."""
        return self.log_mel.step_seconds / self.steps_per_row

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The `index`-th kept clip with `target` (C,), 1 at its classes.

        With events it is (N, C), the share of each step that events of a class cover, and
        `num_frames` is how many frames are no padding.
        """
        times_before, index = divmod(index, len(self))
        clip = int(self._clips[index]) + times_before * len(self.manifest)
        waveform, start = self._part(clip)
        rate_hz = self.log_mel.reading_rate_hz
        events = self.events_of(clip, start / rate_hz, len(waveform) / rate_hz)
        if self.augmentation is not None and self.augmentation.roll:
            seconds = len(waveform) / rate_hz
            waveform, offset = roll_waveform(waveform, self._generator(Purpose.ROLL, clip))
            events = roll_events(events, offset / rate_hz, seconds)
        source = self.log_mel(waveform)[0]
        frames = min(max(1, self.log_mel.num_frames(len(waveform))), source.shape[1])
        seconds = frames * self.frame_seconds
        if self.augmentation is not None and self.augmentation.noise:
            rotated = None if self.events is None else frames
            source, offset = add_noise(source, self._generator(Purpose.NOISE, clip), rotated)
            events = crop_events(events, 0.0, seconds)
            events = roll_events(events, offset * self.frame_seconds, seconds)
        sample = {"id": clip, "source": source}
        if self.events is None:
            target = self.labels.targets(clip % len(self.labels))
        else:
            num_steps = source.shape[1] // self.log_mel.patch_size * self.steps_per_row
            timing = num_steps, self.step_seconds, seconds
            target = cover_steps(events, *timing, self.events.num_classes)
            sample.update(num_frames=frames, events=events)
        # float64, which fairseq does not cast to half precision: mixed targets are fractions.
        return {**sample, "target": torch.from_numpy(target).double()}

    def events_of(self, clip: int, start: float, seconds: float) -> List[Event]:
        """The events of a part of a clip, in seconds from its start; none without events."""
        if self.events is None:
            return []
        return crop_events(self.events.events(clip % len(self.events)), start, seconds)

    def _draw_weights(self) -> np.ndarray:
        if self.num_samples is None:
            return super()._draw_weights()
        return balancing_weights(self.labels)[self.clips]

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Stack clips into `net_input = {source (B, 1, T, F)}` and `target` (B, C) float64.

        With events `target` is (B, N, C), `num_frames` (B,) is how many frames are no padding, and
        the network gets them as `lengths` if there is padding. Without augmentation there are also
        the `events` of each clip, for metrics.

        Mixup comes before SpecAugment, as in the released code; a mixed clip is as long as the
        longer one.
        """
        batch = super().collater(samples)
        if not batch:
            return {}
        batch["target"] = torch.stack([sample["target"] for sample in samples])
        if self.events is not None:
            batch["num_frames"] = torch.tensor([sample["num_frames"] for sample in samples])
        source = batch["net_input"]["source"]
        if self.augmentation is not None:
            batch["net_input"]["source"] = self._augment(source, batch)
        elif self.events is not None:
            batch["events"] = [sample["events"] for sample in samples]
        # Without padding the network needs no mask, which would cost time.
        if self.events is not None and batch["num_frames"].min() < source.shape[2]:
            batch["net_input"]["lengths"] = batch["num_frames"]
        return batch

    def _augment(self, source: Tensor, batch: Dict[str, Any]) -> Tensor:
        """The mixed and masked `source`; the targets of the batch are mixed, too."""
        config, clips = self.augmentation, batch["id"].tolist()
        generator, ratio = self._generator(Purpose.MIXUP, *clips), config.spec_augment_ratio
        if config.mixup_alpha > 0 and generator.random() < config.mixup_prob:
            mixed = mix_up(source, batch["target"], config.mixup_alpha, generator)
            source, batch["target"] = mixed
            if "num_frames" in batch:
                frames = batch["num_frames"]
                batch["num_frames"] = torch.maximum(frames, frames.flip(0))
        if ratio > 0:
            generators = (self._generator(Purpose.SPEC_AUGMENT, clip) for clip in clips)
            source = torch.stack([mask_spectrogram(x, ratio, next(generators)) for x in source])
        return source
