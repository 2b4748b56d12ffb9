"""Patches of a spectrogram, their fixed two-dimensional sine-cosine positions, their mean."""

from typing import Optional

import numpy as np
import torch
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cut a spectrogram into P x P patches and project each to D channels (EAT section 3.1)."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(1, embed_dim, kernel_size=patch_size, stride=patch_size)
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))

    def forward(self, source: Tensor) -> Tensor:
        """(B, 1, T, F) spectrogram -> (B, L, D), time-major: L = T/P * F/P."""
        return self.proj(source).flatten(2).transpose(1, 2)


def cut_patches(source: Tensor, patch_size: int) -> Tensor:
    """(B, 1, T, F) -> (B, L, P * P), the values of each patch."""
    batch_size, _, num_frames, num_bins = source.shape
    grid = (num_frames // patch_size, patch_size, num_bins // patch_size, patch_size)
    return source.reshape(batch_size, *grid).transpose(2, 3).reshape(batch_size, -1, patch_size**2)


def sincos_positions(num_rows: int, num_columns: int, embed_dim: int) -> Tensor:
    """Position embedding of every patch of a grid.

    The first half of the channels encodes the frequency index, the second half the time index;
    each half is [sin, cos] of the index at D/4 frequencies 10000^(-k / (D/4)). The paper calls
    it one-dimensional; the released code, followed here, uses two dimensions. Positions are
    absolute: a shorter grid is a prefix of a longer one.

    H rows along time and W columns along frequency -> (H * W, D) float32, time-major.
    """
    if embed_dim % 4:
        raise ValueError(f"embed_dim: found {embed_dim}, expected a multiple of 4")
    grid = np.empty((num_rows, num_columns, 2, embed_dim // 2), np.float32)
    grid[:, :, 0] = _sincos(np.arange(num_columns), embed_dim // 2)
    grid[:, :, 1] = _sincos(np.arange(num_rows), embed_dim // 2)[:, None]
    return torch.from_numpy(grid.reshape(-1, embed_dim))


def positions_of(table: Tensor, num_patches: int, num_columns: int) -> Tensor:
    """The first L rows of a table (rows * W, D); rows beyond its end are computed: (L, D)."""
    if num_patches <= len(table):
        return table[:num_patches]
    longer = sincos_positions(-(-num_patches // num_columns), num_columns, table.shape[1])
    return torch.cat([table, longer[len(table) : num_patches].to(table)])


def pool_for_head(tokens: Tensor, pooling: str, valid: Optional[Tensor] = None) -> Tensor:
    """(B, 1+L, D) -> (B, D): "cls", or the "mean" of the patches, of the `valid` ones, (B, L)."""
    if pooling == "cls":
        return tokens[:, 0]
    patches = tokens[:, 1:]
    if valid is None:
        return patches.mean(dim=1)
    valid = valid.unsqueeze(-1)
    return patches.masked_fill(~valid, 0.0).sum(dim=1) / valid.sum(dim=1)


def _sincos(index: np.ndarray, num_channels: int) -> np.ndarray:
    """(N,) indices -> (N, num_channels); float64 keeps the phase of late positions exact."""
    exponent = np.arange(num_channels // 2, dtype=np.float64) / (num_channels / 2.0)
    angles = np.outer(index, 1.0 / 10000**exponent)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
