"""Multi-head self-attention, in the way that is fastest for the device and for what is asked."""

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .gradients import writes_own_gradient

# With more tokens than this the L x L weights are too much memory.
_MAX_TOKENS_WITH_WEIGHTS = 1024


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor, valid: Optional[Tensor] = None) -> Tensor:
        """Attend among the tokens of each row.

        Args:
            x: (N, L, D) tokens.
            valid: (N, L) bool, False = no token attends to this one. None: all are valid.

        Returns:
            (N, L, D).
        """
        return self.proj(attend(self.qkv(x), self.num_heads, valid))


def split_heads(qkv: Tensor, num_heads: int) -> Tuple[Tensor, Tensor, Tensor]:
    """(N, L, 3D) -> queries, keys and values, each (N, heads, L, D / heads), without a copy."""
    num_rows, num_tokens, _ = qkv.shape
    q, k, v = qkv.view(num_rows, num_tokens, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def attend(qkv: Tensor, num_heads: int, valid: Optional[Tensor]) -> Tensor:
    """Scaled dot-product attention with the softmax in float32: (N, L, 3D) -> (N, L, D)."""
    mask = None if valid is None else valid[:, None, None, :]
    if writes_own_gradient(qkv) and qkv.shape[1] <= _MAX_TOKENS_WITH_WEIGHTS:
        return _Attention.apply(qkv, num_heads, mask)
    x = F.scaled_dot_product_attention(*split_heads(qkv, num_heads), attn_mask=mask)
    return x.transpose(1, 2).reshape(*qkv.shape[:2], -1)


class _Attention(torch.autograd.Function):
    """Attention by plain matrix products.

    The gradient of torch's fused attention takes five times as long on a CPU at 100 tokens, and
    that of the same formula by autograd twice, for its copies. The weights are computed again for
    it: cheap, and in float32 they are as large as queries, keys and values together.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int, mask: Optional[Tensor]) -> Tensor:
        num_rows, num_tokens, _ = qkv.shape
        q, k, v = (x.flatten(0, 1) for x in split_heads(qkv, num_heads))  # (N*heads, L, D / heads)
        ctx.save_for_backward(q, k, v, mask)
        ctx.num_heads = num_heads
        x = torch.bmm(_weights(q, k, mask), v).view(num_rows, num_heads, num_tokens, -1)
        return x.transpose(1, 2).reshape(num_rows, num_tokens, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None, None]:
        q, k, v, mask = ctx.saved_tensors
        num_rows, num_tokens, embed_dim = grad.shape
        grad = grad.reshape(num_rows, num_tokens, ctx.num_heads, -1).transpose(1, 2).flatten(0, 1)
        weights = _weights(q, k, mask)
        grad_weights = torch.bmm(grad, v.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        scale = q.shape[-1] ** -0.5
        grad_qkv = grad.new_empty(num_rows, num_tokens, 3 * embed_dim)
        grads = (
            _scaled_bmm(grad_scores, k, scale),
            _scaled_bmm(grad_scores.transpose(1, 2), q, scale),
            torch.bmm(weights.transpose(1, 2), grad),
        )
        for target, source in zip(split_heads(grad_qkv, ctx.num_heads), grads, strict=True):
            target.copy_(source.view(target.shape))
        return grad_qkv, None, None


def _weights(q: Tensor, k: Tensor, mask: Optional[Tensor]) -> Tensor:
    """(N * heads, L, L), softmax of the scores; its sums are float32 in half precision too."""
    scores = _scaled_bmm(q, k.transpose(1, 2), q.shape[-1] ** -0.5)
    if mask is not None:
        rows = scores.view(mask.shape[0], -1, *scores.shape[1:])  # (N, heads, L, L)
        rows.masked_fill_(~mask, float("-inf"))
    return scores.softmax(dim=-1)


def _scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale * (a @ b) without another pass over the product."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)
