"""Read a checkpoint file, whatever its layout, and build networks from it."""

import json
import os
import pickle
import zipfile
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Dict, Iterator, Mapping, Optional, TypeVar, Union

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from eat.audio import LogMel
from eat.nn import Classifier, Encoder, EncoderConfig

from . import huggingface, native, official
from .checkpoint import Checkpoint, CheckpointError, Weights, load_weights

CheckpointPath = Union[str, "os.PathLike[str]"]
Device = Optional[Union[str, torch.device]]
Network = TypeVar("Network", bound=nn.Module)

# The layouts that are pickles; each recognises its own by content and translates it.
_PICKLES = (native, official)

# Numbers in a network that is built to list what the file lacks; EAT-large has 3e8.
_ALWAYS_BUILT = 1 << 29

# In the metadata of our .safetensors files: everything of our layout but the tensors, as JSON.
METADATA_KEY = "eat"


def load_checkpoint(path: CheckpointPath) -> Checkpoint:
    """Read a checkpoint of any known layout, detected by content.

    Args:
        path: our `.pt` or `.safetensors`, a released `.pt`, or a Hugging Face folder or
            `.safetensors` file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, would run code when unpickled, or is of no known
            layout.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such checkpoint: {path}")
    with _naming(path):
        checkpoint = _read(path)
        _check_tensors(checkpoint)
    return checkpoint


def _read(path: str) -> Checkpoint:
    if os.path.isdir(path):
        return huggingface.read(path)
    if _is_safetensors(path):
        state = _read_safetensors(path)
        return huggingface.read(path) if state is None else native.read(state, path)
    state = read_pickle(path)
    for layout in _PICKLES:
        if layout.recognises(state):
            return layout.read(state, path)
    raise CheckpointError(
        f"{path}: found no EAT checkpoint (top-level keys: {_some_keys(state)}), expected one of"
        " ours, a released fairseq .pt, or a Hugging Face folder or file"
    )


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turn what goes wrong with values of unexpected kinds into an error that names the file."""
    try:
        yield
    except (CheckpointError, OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file can hold anything anywhere
        raise CheckpointError(
            f"{path}: damaged: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _check_tensors(checkpoint: Checkpoint) -> None:
    parts = (checkpoint.encoder, checkpoint.decoder, checkpoint.teacher, checkpoint.classifier)
    for key, value in (item for part in parts if part for item in part.items()):
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{checkpoint.path}: found a {type(value).__name__} under {key!r}, expected a"
                " tensor"
            )


def load_encoder(
    path: CheckpointPath,
    weights: str = "student",
    device: Device = None,
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
    checkpoint = load_checkpoint(path)
    values = checkpoint.encoder_weights(weights)
    return _prepare(build_encoder(checkpoint, values), device, dtype)


def load_classifier(
    path: CheckpointPath, device: Device = None, dtype: Optional[torch.dtype] = None
) -> Classifier:
    """Load a fine-tuned checkpoint of any layout, in evaluation mode.

    Args:
        path, device, dtype: see `load_encoder`.

    Returns:
        The classifier; `.labels` names its classes, `.activation` makes probabilities of its
        logits, `.log_mel` is its front end.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: see `load_checkpoint`; or the file has no classifier.
    """
    return _prepare(build_classifier(load_checkpoint(path)), device, dtype)


def build_encoder(checkpoint: Checkpoint, weights: Optional[Weights] = None) -> Encoder:
    """The encoder of a checkpoint, with the student's weights unless others are given."""
    weights = checkpoint.encoder if weights is None else weights
    with _naming(checkpoint.path):
        encoder = _empty_encoder(checkpoint, weights)
        load_weights(encoder, weights, checkpoint.path)
    return encoder


def build_classifier(checkpoint: Checkpoint) -> Classifier:
    """The classifier of a fine-tuned checkpoint.

    Raises:
        CheckpointError: there is none, or its weights do not match.
    """
    if checkpoint.classifier is None or checkpoint.classifier_config is None:
        raise CheckpointError(
            f"{checkpoint.path}: found a {checkpoint.kind} checkpoint without a classifier,"
            " expected a fine-tuned one"
        )
    with _naming(checkpoint.path):
        _check_classes(checkpoint.classifier_config.num_classes, checkpoint)
        classifier = Classifier(
            checkpoint.classifier_config,
            _empty_encoder(checkpoint, checkpoint.encoder),
            checkpoint.labels,
            checkpoint.activation,
        )
        if checkpoint.log_mel is not None:
            classifier.log_mel = checkpoint.log_mel
        weights = {f"encoder.{key}": value for key, value in checkpoint.encoder.items()}
        load_weights(classifier, {**weights, **checkpoint.classifier}, checkpoint.path)
    return classifier


def _empty_encoder(checkpoint: Checkpoint, weights: Weights) -> Encoder:
    _check_plausible(checkpoint.encoder_config, weights, checkpoint.path)
    encoder = Encoder(checkpoint.encoder_config)
    if checkpoint.log_mel is not None:
        encoder.log_mel = LogMel(
            checkpoint.log_mel.mean,
            checkpoint.log_mel.std,
            target_length=None,
            num_mel_bins=encoder.config.num_mel_bins,
            patch_size=encoder.config.patch_size,
        )
    return encoder


def _check_plausible(config: EncoderConfig, weights: Weights, path: str) -> None:
    """Refuse sizes that no weight of the file has, before a network of that size is built."""
    largest = max((size for value in weights.values() for size in value.shape), default=0)
    for field in fields(config):
        value = getattr(config, field.name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # No size exceeds the largest dimension of all weights: not even the blocks of a network
        # 4 channels wide, or its mel bins.
        if not is_number or not 0 < value <= max(largest, 1024):
            raise CheckpointError(
                f"{path}: found {field.name}={value!r} in its configuration, expected a number"
                f" that fits its weights (largest dimension: {largest})"
            )
    _check_total(config, weights, path)


def _check_classes(num_classes: int, checkpoint: Checkpoint) -> None:
    """Refuse far more classes than the head has, before a head of that size is built."""
    bias = (checkpoint.classifier or {}).get("head.bias")
    found = 0 if bias is None else bias.numel()
    if num_classes > max(found, 1024):
        raise CheckpointError(
            f"{checkpoint.path}: found num_classes={num_classes!r} in its configuration, expected"
            f" the {found} of its head"
        )


def _check_total(config: EncoderConfig, weights: Weights, path: str) -> None:
    """Refuse sizes that are each possible, but together need far more than is in the file."""
    per_block = config.embed_dim**2 * max(1, config.mlp_ratio)  # less than a block has
    rows = config.num_position_rows * (config.num_mel_bins // config.patch_size)
    needed = per_block * config.depth + rows * config.embed_dim
    found = sum(value.untyped_storage().nbytes() for value in weights.values())
    if needed > max(found, _ALWAYS_BUILT):
        sizes = ", ".join(f"{f.name}={getattr(config, f.name)}" for f in fields(config))
        raise CheckpointError(
            f"{path}: found {sizes} in its configuration, expected sizes that fit its weights"
            f" ({found} bytes)"
        )


def _prepare(network: Network, device: Device, dtype: Optional[torch.dtype]) -> Network:
    return network.to(device=device, dtype=dtype or torch.float32).eval()


def _is_safetensors(path: str) -> bool:
    """Whether a file starts as safetensors do: 8 bytes of header length, then JSON."""
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and start[6:8] == b"\0\0"


def _read_safetensors(path: str) -> Optional[Dict[str, Any]]:
    """The content of our .safetensors file as that of our `.pt`; None if it is somebody else's."""
    try:
        with safe_open(path, framework="pt") as file:
            description = (file.metadata() or {}).get(METADATA_KEY)
            if description is None:
                return None
            names = file.keys()
            model: Mapping[str, Tensor] = {name: file.get_tensor(name) for name in names}
            state = {**json.loads(description), "model": model}
    except (SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged: {_first_line(error)}") from error
    if not native.recognises(state):
        raise CheckpointError(f"{path}: found no model of ours in its metadata")
    return state


def read_pickle(path: str, mapped: bool = True) -> Dict[str, Any]:
    """Read a `.pt` file of plain tensors and values; what would run code is refused.

    Args:
        path: the file.
        mapped: leave tensors on the disk until they are used, so that the optimizer state of a
            training checkpoint is never read; the file must then stay.

    Raises:
        CheckpointError: the file is damaged, no checkpoint, or would run code when unpickled.
    """
    try:
        mmap = mapped and zipfile.is_zipfile(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: not a file of plain tensors and values: {_first_line(error)}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint: {_first_line(error)}"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: found a {type(state).__name__}, expected a checkpoint")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _some_keys(state: Mapping[str, Any], limit: int = 8) -> str:
    keys = [str(key) for key in state]
    return ", ".join(keys[:limit]) + (", ..." if len(keys) > limit else "")
