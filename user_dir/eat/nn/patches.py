"""Patch embedding: one non-overlapping convolution over the spectrogram."""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cut a spectrogram into P x P patches and project each to D channels (EAT section 3.1)."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, embed_dim, kernel_size=patch_size, stride=patch_size)
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))

    def forward(self, source: Tensor) -> Tensor:
        """(B, 1, T, F) spectrogram -> (B, L, D), time-major: L = T/P * F/P."""
        return self.project(self.cut(source))

    def cut(self, source: Tensor) -> Tensor:
        """(B, 1, T, F) -> (B, L, P * P), the values of each patch."""
        size = self.proj.kernel_size[0]
        batch_size, _, num_frames, num_bins = source.shape
        rows = source.reshape(batch_size, num_frames // size, size, num_bins // size, size)
        return rows.transpose(2, 3).reshape(batch_size, -1, size * size)

    def project(self, patches: Tensor) -> Tensor:
        """(..., P * P) -> (..., D): the convolution as the matrix product it is."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
