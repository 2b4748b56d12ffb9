"""Transformer blocks: post-norm, as in the released code."""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        num_rows, num_tokens, embed_dim = x.shape
        qkv = self.qkv(x).view(num_rows, num_tokens, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, L, D / heads)
        mask = None if valid is None else valid[:, None, None, :]
        x = _attend(q, k, v, mask)
        return self.proj(x.transpose(1, 2).reshape(num_rows, num_tokens, embed_dim))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Scaled dot-product attention with the softmax in float32."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # torch's fused attention is slow on the CPU at about 100 tokens, its backward above all.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))


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
