"""Where a block of a trained encoder looks: attention weights, which its forward pass drops."""

from typing import Any, List

import torch
from torch import Tensor

from eat.nn import Encoder
from eat.nn.transformer import Attention, split_heads


def attention_weights(attention: Attention, x: Tensor) -> Tensor:
    """How much each token of a row attends to each other one.

    Args:
        attention: of one block.
        x: (N, L, D) tokens, as its forward pass takes them.

    Returns:
        (N, heads, L, L) float32; the last axis, the tokens attended to, sums to 1.
    """
    q, k, _ = split_heads(attention.qkv(x), attention.num_heads)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(dim=-1, dtype=torch.float32)


@torch.no_grad()
def cls_attention(encoder: Encoder, source: Tensor, layer: int) -> Tensor:
    """What the CLS token attends to in one block.

    Args:
        encoder: in evaluation mode.
        source: (B, 1, T, F) normalised log-mel; T a multiple of the patch size.
        layer: number of the block, from 1.

    Returns:
        (B, heads, 1+L): CLS itself, then the patches in time-major order; sums to 1.

    Raises:
        ValueError: there is no such block, or `source` has an impossible shape.
    """
    depth = len(encoder.blocks)
    if not 1 <= layer <= depth:
        raise ValueError(f"layer: found {layer}, expected 1 to {depth}")
    attention = encoder.blocks[layer - 1].attn
    inputs: List[Tensor] = []

    def remember(module: Attention, args: Any) -> None:
        inputs.append(args[0])

    hook = attention.register_forward_pre_hook(remember)
    try:
        for _ in encoder.layers(source):
            if inputs:
                break
    finally:
        hook.remove()
    return attention_weights(attention, inputs[0])[:, :, 0]
