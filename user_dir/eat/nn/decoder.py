"""The decoder: predicts the teacher's targets at the hidden patches (EAT section 3.2)."""

import math
from dataclasses import dataclass
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eat.settings import setting

from .gradients import NormGeluByHand, by_hand, call_layer, is_plain
from .masking import select_patches

_NORM_EPS = 1e-5  # released code
_TILE_CHANNELS = 64  # of cuDNN's grouped convolutions


@dataclass
class DecoderConfig:
    """Size of the CNN decoder; the defaults are EAT-base. Its width is the encoder's."""

    decoder_depth: int = setting("convolution layers (base 6, large 3)", 6)
    decoder_kernel_size: int = setting("side of the kernels, odd, in patches (base 3, large 5)", 3)
    decoder_groups: int = setting("groups of the convolutions (base and large 16)", 16)
    mask_noise_std: float = setting(
        "standard deviation of the noise put in hidden patches (released: 0.01)", 0.01
    )


class DecoderLayer(nn.Module):
    """Grouped convolution, LayerNorm over channels without parameters, GELU, residual."""

    def __init__(self, embed_dim: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            embed_dim, embed_dim, kernel_size, padding=kernel_size // 2, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, D) -> (N, H, W, D): channels last, the fast layout for both steps."""
        return norm_gelu(convolve_grid(self.conv, x), _NORM_EPS).add_(x)


@by_hand(NormGeluByHand)
def norm_gelu(x: Tensor, eps: float) -> Tensor:
    """LayerNorm over the last dimension without parameters, then GELU."""
    return F.gelu(F.layer_norm(x, x.shape[-1:], eps=eps))


def convolve_grid(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a grouped convolution to patches on their grid: (N, H, W, D) -> (N, H, W, D)."""
    channels = conv.in_channels // conv.groups
    spare = -channels % _TILE_CHANNELS
    # cuDNN computes whole tiles: EAT-base's groups of 48 channels take 2.6 times as long as groups
    # of 64 of which 16 are zeros (H100, bf16, both passes). If most were zeros, padding would lose.
    if x.is_cuda and 0 < spare <= channels // 2 and is_plain(conv):
        return _convolve_widened(conv, x, spare)
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _convolve_widened(conv: nn.Conv2d, x: Tensor, spare: int) -> Tensor:
    """The same, with `spare` channels of zeros added to each group."""
    groups = conv.groups
    x = F.pad(x.unflatten(-1, (groups, -1)), (0, spare)).flatten(-2)
    weight = conv.weight.unflatten(0, (groups, -1))  # (groups, out, in, side, side)
    weight = F.pad(weight, (0, 0, 0, 0, 0, spare, 0, spare)).flatten(0, 1)
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, None, padding=conv.padding, groups=groups)
    y = y.permute(0, 2, 3, 1).unflatten(-1, (groups, -1))
    return y[..., :-spare].flatten(-2) + conv.bias


class Decoder(nn.Module):
    """Convolutions over the patch grid: visible patches in place, noise in the hidden ones.

    It has no position embedding: the grid itself says where a patch is.
    """

    checkpoint_activations = False  # see `Encoder`

    def __init__(self, config: DecoderConfig, embed_dim: int) -> None:
        super().__init__()
        _check_sizes(config, embed_dim)
        self.noise_std = config.mask_noise_std
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dim, config.decoder_kernel_size, config.decoder_groups)
            for _ in range(config.decoder_depth)
        )
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self, patches: Tensor, visible_ids: Tensor, hidden_ids: Tensor, grid: Tuple[int, int]
    ) -> Tensor:
        """Predict the targets (M, D) of the hidden patches, in the order of `hidden_ids`.

        Args:
            patches: (N, V, D), the encoder's outputs at the visible patches, without CLS.
            visible_ids: (N, V) int64, their places on the grid.
            hidden_ids: (N, L - V) int64, the places of the hidden patches.
            grid: (H, W) with H * W = L.
        """
        num_rows, _, embed_dim = patches.shape
        x = self.noise_std * torch.randn(
            num_rows, math.prod(grid), embed_dim, dtype=patches.dtype, device=patches.device
        )
        x = x.scatter_(1, visible_ids.unsqueeze(-1).expand_as(patches), patches)
        x = x.view(num_rows, *grid, embed_dim)
        for layer in self.layers:
            x = call_layer(layer, x, checkpoint=self.checkpoint_activations)
        return self.proj(select_patches(x.flatten(1, 2), hidden_ids))


def _check_sizes(config: DecoderConfig, embed_dim: int) -> None:
    side, groups = config.decoder_kernel_size, config.decoder_groups
    if side < 1 or side % 2 == 0:
        raise ValueError(f"decoder_kernel_size: found {side}, expected an odd number")
    if groups < 1 or embed_dim % groups:
        raise ValueError(
            f"decoder_groups: found {groups}, expected a divisor of embed_dim {embed_dim}"
        )
