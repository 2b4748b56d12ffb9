"""LoRA (arXiv 2106.09685): fine-tune small matrices beside frozen ones."""

from typing import Dict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import Encoder

_ADAPTERS = ("lora_a", "lora_b")


class LoraLinear(nn.Linear):
    """A linear layer plus the product of two matrices of low rank, 0 at the start."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__(linear.in_features, linear.out_features)
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)  # as linear layers

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return super().forward(x) + F.linear(F.linear(x, self.lora_a), self.lora_b)


def add_lora(encoder: Encoder, rank: int) -> None:
    """Freeze an encoder and add adapters to attention, to `qkv` and `proj` of every block."""
    encoder.requires_grad_(False)
    for block in encoder.blocks:
        for name in ("qkv", "proj"):
            setattr(block.attn, name, LoraLinear(getattr(block.attn, name), rank))


def merge_lora(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The weights of an encoder without adapters that computes what one with adapters does."""
    merged = {key: value for key, value in weights.items() if not key.endswith(_ADAPTERS)}
    for layer in {key.rpartition(".")[0] for key in weights.keys() - merged.keys()}:
        a, b = (weights[f"{layer}.{name}"].float() for name in _ADAPTERS)
        weight = merged[f"{layer}.weight"]
        merged[f"{layer}.weight"] = (weight.float() + b @ a).to(weight.dtype)
    return merged
