"""Our own layout as a `.safetensors` file: everything but the tensors is JSON in its metadata."""

import json
from typing import Any

import torch
from safetensors.torch import save

from eat.files import replace_file

from . import native
from .checkpoint import Checkpoint, CheckpointError, Safetensors

_KEY = "eat"  # in the metadata


def recognises(state: Any) -> bool:
    """Whether this is a file of ours."""
    return isinstance(state, Safetensors) and _KEY in state.metadata


def read(state: Safetensors, path: str) -> Checkpoint:
    """Translate a file that `recognises` accepted.

    Raises:
        CheckpointError: the metadata describe no model of ours.
    """
    content = {**json.loads(state.metadata[_KEY]), "model": state.tensors}
    if not native.recognises(content):
        raise CheckpointError("found no model of ours in its metadata")
    return native.read(content, path)


def write(checkpoint: Checkpoint, path: str) -> None:
    """Write what the checkpoint holds, without optimizer state and paths."""
    state = native.state_of(checkpoint)
    # The library refuses tensors that share memory, as a teacher does that is also the encoder.
    model = {
        key: value.clone(memory_format=torch.contiguous_format)
        for key, value in state.pop("model").items()
    }
    with replace_file(path) as file:
        file.write(save(model, metadata={"format": "pt", _KEY: json.dumps(state)}))
