"""Read a checkpoint file, whatever its layout."""

import os
import pickle
import zipfile
from typing import Any, Dict, Optional, Union

import torch

from eat.nn import Encoder

from . import native, official
from .checkpoint import Checkpoint, CheckpointError, load_weights

CheckpointPath = Union[str, "os.PathLike[str]"]

# Each layout recognises its own files by content and translates them.
_LAYOUTS = (native, official)


def load_checkpoint(path: CheckpointPath) -> Checkpoint:
    """Read a checkpoint of any known layout.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, would run code when unpickled, or is of no known
            layout.
    """
    path = os.fspath(path)
    state = _read_pickle(path)
    for layout in _LAYOUTS:
        if layout.recognises(state):
            return layout.read(state, path)
    raise CheckpointError(
        f"{path}: found no EAT checkpoint (top-level keys: {_some_keys(state)}), expected one of"
        " ours, a released fairseq .pt, or a Hugging Face folder or file"
    )


def load_encoder(
    path: CheckpointPath,
    weights: str = "student",
    device: Optional[Union[str, torch.device]] = None,
    dtype: Optional[torch.dtype] = None,
) -> Encoder:
    """Load the encoder of any checkpoint, in evaluation mode.

    Args:
        path: a checkpoint of any known layout.
        weights: "student", or "teacher" for the moving average that a pre-training checkpoint
            carries.
        device: where to put the encoder; None is the CPU.
        dtype: what to cast it to; None is float32.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: see `load_checkpoint`; or the weights do not match, or there is no
            teacher in the file.
        ValueError: `weights` is neither "student" nor "teacher".
    """
    if weights not in ("student", "teacher"):
        raise ValueError(f'weights: found {weights!r}, expected "student" or "teacher"')
    checkpoint = load_checkpoint(path)
    values = checkpoint.encoder if weights == "student" else checkpoint.teacher
    if values is None:
        raise CheckpointError(
            f"{checkpoint.path}: found no teacher in this {checkpoint.kind} checkpoint, expected a"
            " pre-training checkpoint with a teacher"
        )
    encoder = Encoder(checkpoint.encoder_config)
    load_weights(encoder, values, checkpoint.path)
    return encoder.to(device=device, dtype=dtype or torch.float32).eval()


def _read_pickle(path: str) -> Dict[str, Any]:
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        # Mapped, so that the optimizer state of a training checkpoint is never read.
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: not a file of plain tensors and values: {_first_line(error)}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint: {_first_line(error)}"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: found a {type(state).__name__}, expected a checkpoint")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _some_keys(state: Dict[str, Any], limit: int = 8) -> str:
    keys = [str(key) for key in state]
    return ", ".join(keys[:limit]) + (", ..." if len(keys) > limit else "")
