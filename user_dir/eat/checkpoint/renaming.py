"""Weights under the names of a foreign layout, and under ours.

Foreign layouts differ from ours in prefixes, and store the position table as (1, rows * W, D).
"""

from typing import Any, Dict, Mapping, Tuple

from torch import Tensor

from .checkpoint import Weights

Prefixes = Mapping[str, str]  # theirs -> ours; a name falls under one of them at most


def to_our_names(weights: Mapping[str, Any], prefixes: Prefixes) -> Tuple[Weights, Dict[str, Any]]:
    """Tensors that fall under one of the prefixes, renamed, and the rest as it is."""
    renamed, rest = {}, {}
    for key, value in weights.items():
        theirs = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if theirs is None or not isinstance(value, Tensor):
            rest[key] = value
        else:
            renamed[prefixes[theirs] + key[len(theirs) :]] = value
    if "positions" in renamed:
        renamed["positions"] = renamed["positions"].flatten(0, -2)
    return renamed, rest


def to_their_names(weights: Mapping[str, Tensor], prefixes: Prefixes) -> Weights:
    """The inverse of `to_our_names`, in the order of the prefixes."""
    renamed = {}
    for theirs, ours in prefixes.items():
        for key, value in weights.items():
            if key.startswith(ours):
                value = value.unsqueeze(0) if key == "positions" else value
                renamed[theirs + key[len(ours) :]] = value.contiguous()
    return renamed
