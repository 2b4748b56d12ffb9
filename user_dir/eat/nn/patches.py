"""Patch embedding: one non-overlapping convolution over the spectrogram."""

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
