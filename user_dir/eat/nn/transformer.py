"""Transformer blocks: post-norm, as in the released code."""

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .attention import Attention
from .gradients import writes_own_gradient


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return _gelu_linear(self.fc1(x), self.fc2.weight, self.fc2.bias)


def _gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if writes_own_gradient(x):
        return _GeluLinear.apply(x, weight, bias)
    return F.linear(F.gelu(x), weight, bias)


class _GeluLinear(torch.autograd.Function):
    """GELU and a linear layer, keeping for the gradient what goes in, but not what is between."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        columns = rows.t()
        if grad.dtype == torch.bfloat16:
            # oneDNN multiplies a transposed matrix of these at half its speed: turn the narrow one.
            columns = columns.contiguous()
        grad_weight = columns @ F.gelu(x).flatten(0, -2)
        grad_x = torch.ops.aten.gelu_backward(grad @ weight, x)
        return grad_x, grad_weight, rows.sum(dim=0)


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Leave out a residual branch for random rows, and scale it up for the others.

    Args:
        branch: (N, L, D).
        rate: probability of leaving a row out; 0 costs nothing.
    """
    if rate == 0:
        return branch
    kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= rate
    return branch * (kept / (1 - rate)).to(branch.dtype)


class Block(nn.Module):
    """Post-norm block: x = norm1(x + attention(x)), then norm2(x + mlp(x)).

    Attributes:
        drop_path_rate: how often training leaves out each of the branches.
    """

    drop_path_rate = 0.0

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio))

    def forward(self, x: Tensor, valid: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Run the block.

        Args:
            x: (N, L, D) tokens.
            valid: (N, L) bool, see `Attention`.

        Returns:
            The block's output and its MLP branch before residual and norm, both (N, L, D). The
            teacher's targets are made of the second (released code; the paper says "outputs").
        """
        drop_rate = self.drop_path_rate if self.training else 0.0
        x = self.norm1(x + drop_path(self.attn(x, valid), drop_rate))
        mlp_output = self.mlp(x)
        return self.norm2(x + drop_path(mlp_output, drop_rate)), mlp_output
