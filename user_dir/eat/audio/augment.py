"""Augmentation for fine-tuning: pure functions, each with its random generator as an argument.

What is random, and in which order it is drawn, follows the released code.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from eat.settings import setting

_NOISE_PEAK = 0.1
_MAX_ROLL_FRAMES = 10


@dataclass
class AugmentationConfig:
    """Which augmentations a training set gets."""

    roll: bool = setting("rotate the waveform by a random offset, times a gain of 0.5 to 1.5", True)
    noise: bool = setting(
        "add uniform noise to the spectrogram and rotate it by up to 10 frames (released: Speech"
        " Commands only)",
        False,
    )
    mixup_alpha: float = setting(
        "mix each batch with itself, reversed, by one coefficient from Beta(alpha, alpha); 0: never"
        " (paper: 0.8; ESC-50: 0)",
        0.8,
    )
    mixup_prob: float = setting("share of the batches that get mixup (released: 0.9)", 0.9)
    spec_augment_ratio: float = setting(
        "SpecAugment: longest mask along time and along frequency, in units of the clip's frames"
        " and mel bins; 0: none (paper: 0.2)",
        0.2,
    )

    def check(self) -> None:
        """Raise a ValueError for impossible values."""
        if not self.mixup_alpha >= 0:
            raise ValueError(f"task.mixup_alpha: found {self.mixup_alpha}, expected 0 or more")
        for name in ("mixup_prob", "spec_augment_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"task.{name}: found {getattr(self, name)}, expected 0 to 1")


def roll_waveform(waveform: Tensor, generator: np.random.Generator) -> Tuple[Tensor, int]:
    """(S,) -> (S,): rotate by a random offset and scale by a gain of 0.5 + Beta(10, 10).

    Also returns the offset, in samples.
    """
    offset = int(generator.integers(len(waveform)))
    gain = float(generator.beta(10, 10) + 0.5)
    return torch.roll(waveform, offset) * gain, offset


def add_noise(
    source: Tensor, generator: np.random.Generator, num_frames: Optional[int] = None
) -> Tuple[Tensor, int]:
    """(..., T, F) -> (..., T, F): add uniform noise up to 0.1, then rotate by -10 to +9 frames.

    The first `num_frames` frames are rotated (None: all, as in the released code). Also returns by
    how many.
    """
    noise = generator.random(source.shape, dtype=np.float32)
    level = generator.random() * _NOISE_PEAK
    noisy = source + torch.from_numpy(noise).to(source.device) * level
    offset = int(generator.integers(-_MAX_ROLL_FRAMES, _MAX_ROLL_FRAMES))
    rotated = torch.roll(noisy[..., :num_frames, :], offset, dims=-2)
    return torch.cat([rotated, noisy[..., rotated.shape[-2] :, :]], dim=-2), offset


def mix_up(
    source: Tensor, targets: Tensor, alpha: float, generator: np.random.Generator
) -> Tuple[Tensor, Tensor]:
    """Mix `source` (B, 1, T, F) and `targets` (B, ..., C) with themselves, reversed.

    This is mixup (arXiv 1710.09412). The one coefficient is drawn from Beta(alpha, alpha). The
    middle clip of an odd batch is mixed with itself and does not change.
    """
    weight = float(generator.beta(alpha, alpha))
    source, targets = (weight * x + (1 - weight) * x.flip(0) for x in (source, targets))
    return source, targets


def mask_spectrogram(source: Tensor, ratio: float, generator: np.random.Generator) -> Tensor:
    """(..., T, F) -> a copy in which a stripe of mel bins and one of frames are 0: SpecAugment.

    Their widths are uniform in [0, ratio * F) and [0, ratio * T) (arXiv 1904.08779).
    """
    source = source.clone()
    num_frames, num_bins = source.shape[-2:]
    source[..., _draw_stripe(num_bins, ratio, generator)] = 0
    source[..., _draw_stripe(num_frames, ratio, generator), :] = 0
    return source


def _draw_stripe(size: int, ratio: float, generator: np.random.Generator) -> slice:
    width = generator.random() * ratio * size
    start = generator.random() * (size - width)
    return slice(int(start), int(start + width))
