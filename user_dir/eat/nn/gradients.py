"""When gradients that are written by hand are used."""

import torch
from torch import Tensor


def writes_own_gradient(x: Tensor) -> bool:
    """Whether the gradient with respect to `x` is needed, and on a CPU.

    There, autograd's way costs time or memory that a gradient written by hand saves. On a GPU
    fused kernels do better, as does a compiler, which sees through plain formulas only. Under
    `torch.autocast` the tensors of a formula differ in dtype, of which autograd keeps track.
    """
    is_compiling = getattr(torch.compiler, "is_compiling", bool)  # torch >= 2.3
    needs_gradient = x.requires_grad and torch.is_grad_enabled()
    return x.device.type == "cpu" and needs_gradient and not is_compiling() and not _autocasts()


def _autocasts() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # torch < 2.4
        return torch.is_autocast_cpu_enabled()
