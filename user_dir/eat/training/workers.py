"""How several workers average their gradients."""

import functools
from typing import Any, Callable

from torch import nn


def on_any_device(wrap: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """torch's DistributedDataParallel, for models on the CPU too, as fairseq calls it."""

    @functools.wraps(wrap)
    def wrap_on_any_device(module: nn.Module, **options: Any) -> nn.Module:
        if next(module.parameters()).device.type == "cpu":
            options.update(device_ids=None, output_device=None)
        return wrap(module, **options)

    return wrap_on_any_device
