"""Patch embedding: one non-overlapping convolution over the spectrogram."""

import torch
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cut a spectrogram into P x P patches and project each to D channels (EAT section 3.1)."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, embed_dim, kernel_size=patch_size, stride=patch_size)
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))

    def forward(self, source: Tensor) -> Tensor:
        """(B, 1, T, F) spectrogram -> (B, L, D), time-major: L = T/P * F/P."""
        return self.proj(source).flatten(2).transpose(1, 2)


def patch_is_valid(lengths: Tensor, num_rows: int, num_columns: int, patch_size: int) -> Tensor:
    """Which patches hold at least one valid frame.

    Args:
        lengths: (B,) valid frames of each clip.
        num_rows: H.
        num_columns: W.
        patch_size: P, frames per patch.

    Returns:
        (B, L) bool, True = holds sound.
    """
    rows = torch.arange(num_rows, device=lengths.device)
    valid = rows * patch_size < lengths.unsqueeze(1)  # (B, H)
    return valid.repeat_interleave(num_columns, dim=1)
