"""Write a checkpoint in another layout."""

import dataclasses
import json
import os
from functools import partial
from types import ModuleType
from typing import Callable, Dict

import torch
from safetensors.torch import save

from eat.files import replace_file

from . import huggingface, native, official
from .checkpoint import Checkpoint
from .loading import METADATA_KEY, CheckpointPath, build_classifier, build_encoder, load_checkpoint


def convert_checkpoint(
    source: CheckpointPath,
    destination: CheckpointPath,
    to: str,
    weights: str = "student",
    keep_teacher: bool = False,
    force: bool = False,
) -> None:
    """Convert a checkpoint of any known layout to another.

    Weights are copied to the bit. Optimizer state and paths are left behind.

    Args:
        source: what `load_checkpoint` reads.
        destination: the file to write, for "huggingface" the folder.
        to: "eat" and "official" keep everything that the source has, teacher and decoder
            included; "huggingface", "safetensors" and "onnx" hold what using the model takes.
        weights: "student", or "teacher" to make the moving average the encoder of the export.
        keep_teacher: keep teacher and decoder also in "safetensors".
        force: replace what is at `destination`.

    Raises:
        FileNotFoundError: there is no such source.
        FileExistsError: `destination` exists and `force` is not set.
        CheckpointError: the source is no checkpoint, not complete, or lacks what is asked for.
        ValueError: an unknown `to` or `weights`.
    """
    if to not in _WRITERS:
        raise ValueError(f"to: found {to!r}, expected one of {', '.join(_WRITERS)}")
    source, destination = os.fspath(source), os.fspath(destination)
    if os.path.exists(destination) and (not force or _same_file(source, destination)):
        raise FileExistsError(f"{destination}: exists already, expected a new name")
    checkpoint = load_checkpoint(source)
    checkpoint = dataclasses.replace(checkpoint, encoder=checkpoint.encoder_weights(weights))
    # Building the networks is the check that nothing is missing.
    if checkpoint.classifier is not None:
        build_classifier(checkpoint)
    else:
        build_encoder(checkpoint)
    if not (to in _KEEP_TEACHER or keep_teacher):
        checkpoint = dataclasses.replace(
            checkpoint, decoder=None, decoder_config=None, teacher=None, teacher_config=None
        )
    os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
    _WRITERS[to](checkpoint, destination)


def _same_file(source: str, destination: str) -> bool:
    return os.path.realpath(source) == os.path.realpath(destination)


def _write_pickle(layout: ModuleType, checkpoint: Checkpoint, path: str) -> None:
    with replace_file(path) as file:
        torch.save(layout.write(checkpoint), file)


def _write_safetensors(checkpoint: Checkpoint, path: str) -> None:
    state = native.write(checkpoint)
    # Copies, as the library refuses tensors that share memory, as an exported teacher does with
    # the encoder that was made of it.
    model = {key: _own_copy(value) for key, value in state.pop("model").items()}
    with replace_file(path) as file:
        file.write(save(model, metadata={"format": "pt", METADATA_KEY: json.dumps(state)}))


def _own_copy(value: torch.Tensor) -> torch.Tensor:
    return value.clone(memory_format=torch.contiguous_format)


def _write_onnx(checkpoint: Checkpoint, path: str) -> None:
    from .onnx_export import export_onnx

    export_onnx(checkpoint, path)


_WRITERS: Dict[str, Callable[[Checkpoint, str], None]] = {
    "eat": partial(_write_pickle, native),
    "official": partial(_write_pickle, official),
    "huggingface": huggingface.write,
    "safetensors": _write_safetensors,
    "onnx": _write_onnx,
}
_KEEP_TEACHER = ("eat", "official")
