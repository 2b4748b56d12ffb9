"""Fixed two-dimensional sine-cosine position embedding."""

import numpy as np
import torch
from torch import Tensor


def sincos_positions(num_rows: int, num_columns: int, embed_dim: int) -> Tensor:
    """Position embedding of every patch of a grid.

    The first half of the channels encodes the frequency index, the second half the time index;
    each half is [sin, cos] of the index at D/4 frequencies 10000^(-k / (D/4)). The paper calls
    it one-dimensional; the released code, followed here, uses two dimensions. Positions are
    absolute: a shorter grid is a prefix of a longer one.

    Args:
        num_rows: H, patches along time.
        num_columns: W, patches along frequency.
        embed_dim: D, a multiple of 4.

    Returns:
        (H * W, D) float32, time-major.

    Raises:
        ValueError: D is not a multiple of 4.
    """
    if embed_dim % 4:
        raise ValueError(f"embed_dim: found {embed_dim}, expected a multiple of 4")
    time, frequency = np.meshgrid(np.arange(num_rows), np.arange(num_columns), indexing="ij")
    halves = [_sincos(index.reshape(-1), embed_dim // 2) for index in (frequency, time)]
    return torch.from_numpy(np.concatenate(halves, axis=1).astype(np.float32))


def _sincos(index: np.ndarray, num_channels: int) -> np.ndarray:
    """(N,) indices -> (N, num_channels); in float64, so that late positions keep their phase."""
    exponent = np.arange(num_channels // 2, dtype=np.float64) / (num_channels / 2.0)
    angles = np.outer(index, 1.0 / 10000**exponent)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
