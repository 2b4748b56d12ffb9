"""Read a checkpoint file of any layout, load networks from it, or write it in another layout."""

import importlib
import logging
import os
import pickle
import re
import zipfile
from dataclasses import replace
from types import ModuleType
from typing import Any, Callable, Dict, Optional, Union

import torch
from safetensors import safe_open

from eat.machine import one_torch_thread
from eat.nn import Classifier, Encoder

from . import LAYOUTS, bare, huggingface, native, official
from .building import build_classifier, build_encoder
from .checkpoint import Checkpoint, CheckpointError, Safetensors, first_line, naming
from .hub import local_path
from .source import AUDIOSET_LABELS, complete, source_of
from .source import PathLike as CheckpointPath

logger = logging.getLogger(__name__)

Device = Optional[Union[str, torch.device]]

_AUDIO = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3")
_TEXT_BYTES = bytes({*b"\t\n\f\r", *range(32, 127), *range(128, 256)})


def load_checkpoint(path: CheckpointPath) -> Checkpoint:
    """Read a file or folder of any known layout, or the model of this name on the hub.

    The content tells the layout. `path` may be a `Source`, which states what no file tells. A name
    on the Hugging Face hub is `owner/name[@revision][:file]`; see `eat.checkpoint.hub`. A
    CheckpointError says that the file is damaged, would run code when unpickled, or is of no known
    layout; a FileNotFoundError, that there is none; a ValueError, that a statement does not fit.
    """
    source = source_of(path)
    path = local_path(source.path)
    with naming(source.path):
        state = _open(path)
        if isinstance(state, Safetensors):
            state = state._replace(num_heads=source.num_heads)
        checkpoint = replace(_layout_of(state).read(state, path), path=source.path)
    return complete(checkpoint, source, path)


# The first that recognises a file reads it; the last one takes any safetensors.
READABLE = (native, official, bare)


def _layout_of(state: Any) -> ModuleType:
    for layout in READABLE:
        if layout.recognises(state):
            return layout
    keys = ", ".join(map(str, [*state][:8])) + (", ..." if len(state) > 8 else "")
    raise CheckpointError(
        f"found no EAT checkpoint (top-level keys: {keys}), expected one of ours, a released"
        " fairseq .pt, a Hugging Face folder or file, or weights under the names of one of them"
    )


def _open(path: str) -> Union[Dict[str, Any], Safetensors]:
    """The content of a file, or of the weights in a folder."""
    if os.path.isdir(path):
        found = sorted(n for n in os.listdir(path) if n.endswith((".safetensors", ".bin", ".pt")))
        if len(found) == 1 and found[0].endswith(".safetensors") and "-of-" not in found[0]:
            return _read_safetensors(os.path.join(path, found[0]))  # as ESP-AVES2's are called
        if huggingface.WEIGHTS not in found:
            others = f" (but: {', '.join(found)})" if found else ""
            raise CheckpointError(
                f"found a folder without {huggingface.WEIGHTS}{others}, expected all weights in"
                " this one file, or the path of a .pt file"
            )
        return _read_safetensors(os.path.join(path, huggingface.WEIGHTS))
    with open(path, "rb") as file:
        start = file.read(9)
    # safetensors start with 8 bytes of header length, the last ones 0, then JSON.
    if start[6:] == b"\0\0{":
        return _read_safetensors(path)
    state = read_pickle(path)
    return bare.tensors_of(state) or state


def _read_safetensors(path: str) -> Safetensors:
    with naming(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Safetensors(tensors, file.metadata() or {})


def read_pickle(path: str, mapped: bool = True) -> Dict[str, Any]:
    """Read a `.pt` file of plain tensors and values; any other file is a CheckpointError.

    If `mapped`, tensors stay on the disk until they are used, so that the optimizer state of a
    training checkpoint is never read. The file must then stay.
    """
    with naming(path):
        _refuse_others(path)
        try:
            mmap = mapped and zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            # Of torch's words only what the file would call: its advice is to run that.
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f": it would call {found[1]}" if found else ", or damaged"
            raise CheckpointError(
                f"refused: not a file of plain tensors and values{what}"
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            # What torch's zip reader says helps; what Python says of a stray byte does not.
            reason = f": {first_line(error)}" if isinstance(error, RuntimeError) else ""
            raise CheckpointError(f"damaged, or not a checkpoint{reason}") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"found a {type(state).__name__}, expected a checkpoint")
    return state


def _refuse_others(path: str) -> None:
    """Say what a file of text, sound or a graph is that stands where a checkpoint is expected."""
    with open(path, "rb") as file:
        start = file.read(256)
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError("found a git-lfs pointer, expected the file itself: run git lfs pull")
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise CheckpointError("found a web page, expected a checkpoint: was a login page saved?")
    if start.startswith(_AUDIO):
        raise CheckpointError("found an audio file, expected a checkpoint")
    if path.lower().endswith(".onnx"):
        raise CheckpointError(
            "found an ONNX graph, which onnxruntime runs; expected the checkpoint it was made from"
        )
    if start and not start.translate(None, _TEXT_BYTES):
        raise CheckpointError("found a text file, expected a checkpoint")


@one_torch_thread()
def load_encoder(
    path: CheckpointPath,
    weights: str = "student",
    device: Device = None,
    dtype: Optional[torch.dtype] = None,
    **stated: Any,
) -> Encoder:
    """Load the encoder of any checkpoint, in evaluation mode.

    Args:
        path: a checkpoint of any known layout, or the name of one on the Hugging Face hub,
            `owner/name[@revision][:file]`.
        weights: "student", or "teacher", the moving average of a pre-training checkpoint.
        device: where to put the encoder; None is the CPU.
        dtype: what to cast it to; None is float32.
        stated: what the checkpoint does not tell, `mean=`, `std=`, `speed=` or `num_heads=`, see
            `Source`.

    Raises:
        FileNotFoundError: there is no such file, and no such model on the hub.
        ModuleNotFoundError: a name on the hub without huggingface_hub.
        CheckpointError: see `load_checkpoint`; or weights do not match, or there is no teacher.
        ValueError: `weights` is neither "student" nor "teacher"; only one of mean and std is known.
    """
    checkpoint = load_checkpoint(source_of(path, **stated))
    encoder = build_encoder(checkpoint, checkpoint.encoder_weights(weights))
    return encoder.to(device=device, dtype=dtype or torch.float32).eval()


@one_torch_thread()
def load_classifier(
    path: CheckpointPath, device: Device = None, dtype: Optional[torch.dtype] = None, **stated: Any
) -> Classifier:
    """Load a fine-tuned checkpoint of any layout, in evaluation mode.

    Args:
        path, device, dtype: see `load_encoder`.
        stated: as there, or `labels=`, the names of the classes or a file with them.

    Returns:
        The classifier; `.labels` names its classes, `.activation` turns its logits into
        probabilities, `.log_mel` is its front end.

    Raises:
        FileNotFoundError, ModuleNotFoundError: see `load_encoder`.
        CheckpointError: see `load_checkpoint`; or the file has no classifier.
        ValueError: `labels` are not as many as the classes.
    """
    classifier = build_classifier(load_checkpoint(source_of(path, **stated)))
    if classifier.labels is None:
        is_audioset = classifier.config.num_classes == 527
        logger.warning(
            "%s names no classes: give labels=FILE (on the command line --labels FILE)%s",
            *(os.fspath(path), f"; AudioSet's: {AUDIOSET_LABELS}" if is_audioset else ""),
        )
    return classifier.to(device=device, dtype=dtype or torch.float32).eval()


def convert_checkpoint(
    source: CheckpointPath,
    destination: CheckpointPath,
    to: str,
    weights: str = "student",
    force: bool = False,
    input: Optional[str] = None,
    quantize: Optional[str] = None,
    license: Optional[str] = None,
    name: Optional[str] = None,
    **stated: Any,
) -> None:
    """Convert a checkpoint of any known layout to another.

    Weights are copied to the bit, but for `quantize`; optimizer state and paths are left behind.

    Args:
        source: what `load_checkpoint` reads.
        destination: the file to write, for "huggingface" the folder.
        to: one of LAYOUTS. "eat" and "official" keep everything that the source has, teacher and
            decoder included; the others hold the encoder or classifier alone.
        weights: "student", or "teacher" to make the moving average the encoder of the export.
        force: replace what is at `destination`.
        input, quantize: of "onnx", see `onnx_export.write`: what the graph takes, "spectrogram"
            (None) or "waveform"; "int8" makes the weights of its linear layers integers.
        license, name: of the model, for the card of "huggingface", see `huggingface.write`.
        stated: what the source does not tell, see `Source`; it is written.

    Raises:
        FileNotFoundError, FileExistsError: no such source; a `destination` without `force`.
        CheckpointError: the source is no checkpoint, not complete, or lacks what is asked for.
        ValueError: an unknown value, an option that the layout does not have, or a statement that
            does not fit.
    """
    write = _find_writer(to)
    options = _fitting(to, "onnx", input=input, quantize=quantize)
    options |= _fitting(to, "huggingface", license=license, name=name)
    source, destination = source_of(source, **stated), os.fspath(destination)
    is_same = os.path.realpath(source) == os.path.realpath(destination)
    if os.path.exists(destination) and (not force or is_same):
        hint = ", and is the source: expected a new name" if is_same else " (--force replaces it)"
        raise FileExistsError(f"{destination}: exists already{hint}")
    checkpoint = load_checkpoint(source)
    checkpoint = replace(checkpoint, encoder=checkpoint.encoder_weights(weights))
    # Building the network is the check that nothing is missing.
    (build_encoder if checkpoint.classifier is None else build_classifier)(checkpoint)
    os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
    write(checkpoint, destination, **options)


def _find_writer(to: str) -> Callable[..., None]:
    if to not in LAYOUTS:
        raise ValueError(f"to: found {to!r}, expected one of {', '.join(LAYOUTS)}")
    module, function = LAYOUTS[to].split(".")
    return getattr(importlib.import_module(f".{module}", __package__), function)


def _fitting(to: str, layout: str, **options: Any) -> Dict[str, Any]:
    """The options that are given; a ValueError if `to` is not the layout that has them."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if to != layout:
            raise ValueError(f"{name}: found {value!r} with to={to!r}, expected to={layout!r}")
    return given
