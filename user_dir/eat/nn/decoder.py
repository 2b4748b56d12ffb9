"""The decoder: predicts the teacher's targets at the hidden patches (EAT section 3.2)."""

import math
from dataclasses import dataclass, field
from typing import Any, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .execution import call_layer
from .gradients import writes_own_gradient
from .grouped_conv import convolve_grid
from .masking import select_patches

# Settings of the released decoder that nobody varies.
_NORM_EPS = 1e-5


@dataclass
class DecoderConfig:
    """Size of the CNN decoder; the defaults are EAT-base. Its width is the encoder's."""

    decoder_depth: int = field(default=6, metadata={"help": "convolution layers (base 6, large 3)"})
    decoder_kernel_size: int = field(
        default=3, metadata={"help": "side of the kernels, odd, in patches (base 3, large 5)"}
    )
    decoder_groups: int = field(
        default=16, metadata={"help": "groups of the convolutions (base and large 16)"}
    )
    mask_noise_std: float = field(
        default=0.01,
        metadata={"help": "standard deviation of the noise put in hidden patches (released: 0.01)"},
    )


class DecoderLayer(nn.Module):
    """Grouped convolution, LayerNorm over channels without parameters, GELU, residual."""

    def __init__(self, embed_dim: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            embed_dim, embed_dim, kernel_size, padding=kernel_size // 2, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, D) -> (N, H, W, D): channels last, as norm and convolution like them."""
        y = convolve_grid(self.conv, x)
        return _norm_gelu(y).add_(x)


def _norm_gelu(x: Tensor) -> Tensor:
    if writes_own_gradient(x):
        return _NormGelu.apply(x)
    return F.gelu(_norm(x))


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=_NORM_EPS)


class _NormGelu(torch.autograd.Function):
    """LayerNorm and GELU, keeping for the gradient what goes in, but not what is between."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(_norm(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            normed = _norm(x)
        grad_normed = torch.ops.aten.gelu_backward(grad, normed.detach())
        return torch.autograd.grad(normed, x, grad_normed)[0]


class Decoder(nn.Module):
    """Convolutions over the patch grid: visible patches in place, noise in the hidden ones.

    There is no position embedding here; the grid itself says where a patch is.

    Attributes:
        checkpoint_activations: see `Encoder`.
    """

    checkpoint_activations = False

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
        """Predict the targets of the hidden patches.

        Args:
            patches: (N, V, D), the encoder's outputs at the visible patches, without CLS.
            visible_ids: (N, V) int64, their places on the grid.
            hidden_ids: (N, L - V) int64, the places of the others.
            grid: (H, W) with H * W = L.

        Returns:
            (M, D), the predictions at the hidden patches, in the order of `hidden_ids`.
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
    if config.decoder_kernel_size % 2 == 0:
        raise ValueError(
            f"decoder_kernel_size: found {config.decoder_kernel_size}, expected an odd number"
        )
    if config.decoder_groups < 1 or embed_dim % config.decoder_groups:
        raise ValueError(
            f"decoder_groups: found {config.decoder_groups},"
            f" expected a divisor of embed_dim {embed_dim}"
        )
