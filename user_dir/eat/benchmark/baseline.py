"""A straightforward loader, for comparison: what one writes first, with the same results.

soundfile reads the whole file, numpy averages the channels, the filter bank makes its window and
its filters for every clip and a new tensor in every step, masks are drawn clone by clone.
"""

from typing import Any, Dict, List, Sequence

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from eat.audio import SAMPLE_RATE_HZ, LogMel
from eat.audio import log_mel as front_end
from eat.nn.masking import MaskingConfig, num_blocks, num_visible_patches


class StraightforwardDataset(torch.utils.data.Dataset):
    """Normalised spectrograms and masks of audio files, as `PretrainingDataset` has them."""

    def __init__(self, paths: Sequence[str], log_mel: LogMel, masking: MaskingConfig) -> None:
        self.paths = paths
        self.log_mel = log_mel
        self.masking = masking

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """`source` (1, T, F) and `mask` (K, L)."""
        samples, rate_hz = soundfile.read(self.paths[index], dtype="float32", always_2d=True)
        waveform = samples.mean(axis=1)
        if rate_hz != SAMPLE_RATE_HZ:
            waveform = soxr.resample(waveform, rate_hz, SAMPLE_RATE_HZ)
        frames = filter_bank(torch.from_numpy(waveform), self.log_mel.num_mel_bins)
        length = self.log_mel.target_length
        frames = frames[:length]
        frames = F.pad(frames, (0, 0, 0, length - len(frames)))
        source = (frames - self.log_mel.mean) / (2 * self.log_mel.std)
        return {"source": source.unsqueeze(0), "mask": self._draw_masks(index)}

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Stack clips."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def _draw_masks(self, seed: int) -> Tensor:
        config, generator = self.masking, np.random.default_rng(seed)
        height = self.log_mel.target_length // self.log_mel.patch_size
        width = self.log_mel.num_mel_bins // self.log_mel.patch_size
        masks = np.ones((config.num_clones, height * width), dtype=bool)
        for mask in masks:
            grid, side = mask.reshape(height, width), config.mask_block_size
            for _ in range(num_blocks(config, height * width)):
                row = generator.integers(height) - side // 2
                column = generator.integers(width) - side // 2
                grid[max(0, row) : row + side, max(0, column) : column + side] = False
            surplus = num_visible_patches(config, height * width) - int((~mask).sum())
            candidates = np.flatnonzero(mask == (surplus > 0))
            mask[generator.choice(candidates, abs(surplus), replace=False)] = surplus < 0
        return torch.from_numpy(masks)


def filter_bank(waveform: Tensor, num_mel_bins: int) -> Tensor:
    """`mel_filter_bank` of one clip, step by step: (S,) -> (T, F)."""
    waveform = waveform - waveform.mean()
    frames = waveform.unfold(0, front_end.WINDOW_SAMPLES, front_end.HOP_SAMPLES)
    frames = frames - frames.mean(dim=1, keepdim=True)
    previous = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = frames - front_end.PRE_EMPHASIS * previous
    frames = frames * torch.hann_window(front_end.WINDOW_SAMPLES, periodic=False)
    frames = F.pad(frames, (0, front_end.FFT_SAMPLES - front_end.WINDOW_SAMPLES))
    power = torch.fft.rfft(frames).abs().pow(2)
    energies = power @ front_end.mel_weights(num_mel_bins)
    return energies.clamp_min(front_end.POWER_FLOOR).log()
