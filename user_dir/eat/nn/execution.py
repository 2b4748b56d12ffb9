"""How layers are executed: with their activations kept or not, compiled or not."""

from typing import Any, Type

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint as run_checkpointed


def call_layer(layer: nn.Module, *args: Any, checkpoint: bool) -> Any:
    """Call a layer; with `checkpoint` keep its inputs only, and call it again for the gradient."""
    if checkpoint and torch.is_grad_enabled():
        return run_checkpointed(layer, *args, use_reentrant=False)
    return layer(*args)


def compile_layers(module: nn.Module, *layer_types: Type[nn.Module]) -> None:
    """Have torch compile all layers of some types; the code of each type once, for all of them.

    Raises:
        ValueError: this torch cannot.
    """
    for layer in module.modules():
        if isinstance(layer, layer_types):
            if not hasattr(layer, "compile"):
                raise ValueError(f"model.compile: found torch {torch.__version__}, expected >= 2.2")
            # Batches have one shape but for the last of an epoch, which may compile once more.
            layer.compile(dynamic=False)
