"""The Transformer block: attention and MLP, each with a residual and a norm after it (post-norm).

To add a variant of the block, add a setting to `EncoderConfig`, use it here, and add its key to the
yaml files. Every block gets the whole configuration, and every checkpoint carries it.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eat.settings import setting

from .gradients import MAX_TOKENS_WITH_WEIGHTS, AttentionByHand, GeluLinearByHand, by_hand


@dataclass
class EncoderConfig:
    """Size of the encoder; the defaults are EAT-base."""

    embed_dim: int = setting("D, width of the encoder (base 768, large 1024)", 768)
    depth: int = setting("number of blocks (base 12, large 24)", 12)
    num_heads: int = setting("attention heads (base 12, large 16)", 12)
    mlp_ratio: float = setting("width of a block's hidden layer, in units of embed_dim", 4.0)
    norm_eps: float = setting("epsilon of the encoder's LayerNorms", 1e-6)
    patch_size: int = setting("P, side of a patch in frames and mel bins (paper: 16)", 16)
    num_mel_bins: int = setting("F, mel bins (paper: 128)", 128)
    num_position_rows: int = setting(
        "time patches in the stored position table (released code: 768, about 2 min); positions of"
        " longer clips are computed",
        768,
    )

    @property
    def num_columns(self) -> int:
        """W, patches along frequency."""
        return self.num_mel_bins // self.patch_size


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor, valid: Optional[Tensor] = None) -> Tensor:
        """(N, L, D) -> (N, L, D); `valid` (N, L) bool, False = no token attends to this one."""
        return self.proj(attend(self.qkv(x), self.num_heads, valid))


@by_hand(AttentionByHand, max_tokens=MAX_TOKENS_WITH_WEIGHTS)
def attend(qkv: Tensor, num_heads: int, valid: Optional[Tensor]) -> Tensor:
    """Scaled dot-product attention with the softmax in float32: (N, L, 3D) -> (N, L, D)."""
    mask = None if valid is None else valid[:, None, None, :]
    x = F.scaled_dot_product_attention(*split_heads(qkv, num_heads), attn_mask=mask)
    return x.transpose(1, 2).reshape(*qkv.shape[:2], -1)


def attention_weights(qkv: Tensor, num_heads: int, valid: Optional[Tensor] = None) -> Tensor:
    """(N, L, 3D) -> (N, heads, L, L) float32: how much each token attends to each, sums to 1."""
    q, k, _ = split_heads(qkv, num_heads)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None, None, :], float("-inf"))
    return scores.softmax(dim=-1, dtype=torch.float32)


def split_heads(qkv: Tensor, num_heads: int) -> Tuple[Tensor, Tensor, Tensor]:
    """(N, L, 3D) -> queries, keys and values, each (N, heads, L, D / heads), without a copy."""
    q, k, v = qkv.view(*qkv.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return gelu_linear(self.fc1(x), self.fc2)


@by_hand(GeluLinearByHand)
def gelu_linear(x: Tensor, linear: nn.Module) -> Tensor:
    """GELU, then a linear layer: (..., hidden) -> (..., D)."""
    return linear(F.gelu(x))


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Leave out a residual branch (N, L, D) for rows drawn with probability `rate`.

    The other rows are scaled up, so that the mean stays.
    """
    if rate == 0:
        return branch
    kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= rate
    return branch * (kept / (1 - rate)).to(branch.dtype)


class Block(nn.Module):
    """Post-norm block: x = norm1(x + attention(x)), then norm2(x + mlp(x))."""

    drop_path_rate = 0.0  # probability with which training leaves out each of the branches

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        embed_dim = config.embed_dim
        self.norm1 = nn.LayerNorm(embed_dim, eps=config.norm_eps)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(embed_dim, eps=config.norm_eps)
        self.mlp = Mlp(embed_dim, int(embed_dim * config.mlp_ratio))

    def forward(self, x: Tensor, valid: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """(N, L, D) -> the output and the MLP branch before residual and norm, both (N, L, D).

        The teacher's targets are made of the second (released code; the paper says "outputs").
        """
        drop_rate = self.drop_path_rate if self.training else 0.0
        x = self.norm1(x + drop_path(self.attn(x, valid), drop_rate))
        mlp_output = self.mlp(x)
        return self.norm2(x + drop_path(mlp_output, drop_rate)), mlp_output
