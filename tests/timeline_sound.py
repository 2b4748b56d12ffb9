"""A sound with known events, and a classifier whose answer is local."""

import numpy as np
import torch

from eat.nn import Encoder, EncoderConfig
from eat.nn.classifier import Classifier, ClassifierConfig

RATE_HZ = 16000
SIZES = EncoderConfig(embed_dim=16, depth=1, num_heads=2, num_position_rows=64)


class Loud(Classifier):
    """Says at each step, or of each clip, which of two tones it holds: its answer is local."""

    def __init__(self, pooling="time", steps_per_row=1):
        config = ClassifierConfig(2, pooling=pooling, steps_per_row=steps_per_row)
        super().__init__(config, Encoder(SIZES), ["low, deep", 'high "tone"'], "sigmoid")

    def forward(self, source, lengths=None):
        steps = source.shape[2] // 16 * self.config.steps_per_row
        energies = source.unflatten(2, (steps, -1)).mean(dim=(1, 3))  # (B, steps, F)
        low, high = energies[..., 24:29].mean(dim=-1), energies[..., 91:96].mean(dim=-1)
        logits = 20 * (torch.stack([low, high - 0.25], dim=-1))
        return logits if self.config.pooling == "time" else logits.amax(dim=1)


EVENTS = [(3.0, 4.5, 500), (9.0, 11.0, 500), (9.6, 10.4, 3700), (19.5, 20.7, 3700)]
EVENTS += [(39.2, 41.4, 500), (49.9, 50.2, 3700), (58.0, 60.0, 500)]


def make_sound(seconds=60.0, rate_hz=RATE_HZ):
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = np.random.default_rng(0).standard_normal(len(time)) * 0.001
    for onset, offset, hertz in EVENTS:
        is_on = (onset <= time) & (time < offset)
        samples[is_on] += 0.3 * np.sin(2 * np.pi * hertz * time[is_on])
    return samples.astype(np.float32)
