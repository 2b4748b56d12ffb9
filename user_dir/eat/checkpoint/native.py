"""Our own layout: what fairseq writes when it trains `eat` or `eat_classifier`.

cfg.model   the model's settings, `_name` included
cfg.task    the front end: mean, std, target_length, and rates and range where they are set
model       encoder.* (LoRA's adapters are merged), then decoder.* and teacher.encoder.*, or
            fc_norm.* and head.*
task_state  labels: the names of the classes; activation: "sigmoid" or "softmax"; with labels in
            time also steps_per_row, see `ClassifierConfig`

In a `.safetensors` file everything but the tensors is JSON in its metadata.
"""

import json
from dataclasses import replace
from typing import Any, Dict

import torch
from safetensors.torch import save

from eat.files import replace_file, write_file
from eat.nn.lora import merge_lora

from .checkpoint import (
    FRONT_END,
    Checkpoint,
    CheckpointError,
    Safetensors,
    checkpoint_of,
    fairseq_model_name,
    to_our_names,
)

PRETRAINED = "eat"
FINETUNED = "eat_classifier"
_KEY = "eat"  # in the metadata of a `.safetensors` file

_ENCODER, _DECODER, _TEACHER = {"encoder.": ""}, {"decoder.": ""}, {"teacher.encoder.": ""}
_CLASSIFIER = {"fc_norm.": "fc_norm.", "head.": "head."}


def recognises(state: Any) -> bool:
    """Whether this is a checkpoint of one of our models."""
    if isinstance(state, Safetensors):
        return _KEY in state.metadata
    return fairseq_model_name(state) in (PRETRAINED, FINETUNED)


def read(state: Any, path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted."""
    if isinstance(state, Safetensors):
        state = {**json.loads(state.metadata[_KEY]), "model": state.tensors}
        if not recognises(state):
            raise CheckpointError("found no model of ours in its metadata")
    task_state = state.get("task_state") or {}
    encoder, *others = to_our_names(state["model"], _ENCODER, _DECODER, _TEACHER, _CLASSIFIER)
    return checkpoint_of(
        {"steps_per_row": task_state.get("steps_per_row", 1), **state["cfg"]["model"]},
        state["cfg"].get("task") or {},
        merge_lora(encoder),
        *others,
        labels=task_state.get("labels"),
        activation=task_state.get("activation"),
    )


def write(checkpoint: Checkpoint, path: str) -> None:
    """Write a `.pt` file without optimizer state and paths."""
    with replace_file(path) as file:
        torch.save(_state(checkpoint), file)


def write_safetensors(checkpoint: Checkpoint, path: str) -> None:
    """Write a `.safetensors` file of the same content, without decoder and teacher."""
    left_out = ("decoder", "decoder_config", "teacher", "teacher_config")
    state = _state(replace(checkpoint, **dict.fromkeys(left_out)))
    # The library refuses tensors that share memory.
    model = {
        key: value.clone(memory_format=torch.contiguous_format)
        for key, value in state.pop("model").items()
    }
    write_file(path, save(model, metadata={"format": "pt", _KEY: json.dumps(state)}))


def _state(checkpoint: Checkpoint) -> Dict[str, Any]:
    """The content of a file of this layout."""
    model = {f"encoder.{key}": value for key, value in checkpoint.encoder.items()}
    model |= {f"decoder.{key}": value for key, value in (checkpoint.decoder or {}).items()}
    model |= {f"teacher.encoder.{key}": value for key, value in (checkpoint.teacher or {}).items()}
    model |= checkpoint.classifier or {}
    name = PRETRAINED if checkpoint.classifier is None else FINETUNED
    log_mel = checkpoint.log_mel
    task_state = {"labels": checkpoint.labels, "activation": checkpoint.activation}
    return {
        "cfg": {
            "model": {"_name": name, **checkpoint.settings()},
            "task": {} if log_mel is None else {key: getattr(log_mel, key) for key in FRONT_END},
        },
        "model": model,
        "task_state": {key: value for key, value in task_state.items() if value is not None},
    }
