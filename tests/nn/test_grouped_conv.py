import torch
from torch import nn

from eat.nn.grouped_conv import _convolve_widened, convolve_grid


def test_zeros_beside_the_channels_change_nothing():
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 24, kernel_size=3, padding=1, groups=4).double()
    x = torch.randn(2, 5, 8, 24, dtype=torch.float64, requires_grad=True)
    outputs = [convolve_grid(conv, x), _convolve_widened(conv, x, spare=2)]
    expected = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    inputs = (x, conv.weight, conv.bias)
    gradients = torch.autograd.grad(expected.square().sum(), inputs)
    for output in outputs:
        assert torch.allclose(output, expected)
        found = torch.autograd.grad(output.square().sum(), inputs)
        assert all(torch.allclose(f, g) for f, g in zip(found, gradients, strict=True))
