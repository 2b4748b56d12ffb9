"""The grouped convolution of the decoder, in the layout and width that its kernels like."""

import torch.nn.functional as F
from torch import Tensor, nn

_TILE_CHANNELS = 64


def convolve_grid(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a grouped convolution to patches on their grid, channels last.

    Args:
        conv: from D to D channels, padded so that the grid keeps its size.
        x: (N, H, W, D).

    Returns:
        (N, H, W, D).
    """
    channels = conv.weight.shape[1]
    spare = -channels % _TILE_CHANNELS
    # cuDNN computes whole tiles: EAT-base's groups of 48 channels take 2.6 times as long as groups
    # of 64 of which 16 are zeros (H100, bf16, both passes). Where most would be zeros it loses.
    if x.is_cuda and 0 < spare <= channels // 2:
        return _convolve_widened(conv, x, spare)
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _convolve_widened(conv: nn.Conv2d, x: Tensor, spare: int) -> Tensor:
    groups = conv.groups
    x = F.pad(x.unflatten(-1, (groups, -1)), (0, spare)).flatten(-2)
    weight = conv.weight.unflatten(0, (groups, -1))  # (groups, out, in, side, side)
    weight = F.pad(weight, (0, 0, 0, 0, 0, spare, 0, spare)).flatten(0, 1)
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, None, padding=conv.padding, groups=groups)
    y = y.permute(0, 2, 3, 1).unflatten(-1, (groups, -1))
    return y[..., :-spare].flatten(-2) + conv.bias
