"""Read a checkpoint file of any layout, load networks from it, or write it in another layout."""

import importlib
import os
import pickle
import re
import zipfile
from dataclasses import replace
from types import ModuleType
from typing import Any, Dict, Optional, Union

import torch
from safetensors import safe_open

from eat.nn import Classifier, Encoder

from . import LAYOUTS, huggingface, native, official
from .building import build_classifier, build_encoder
from .checkpoint import Checkpoint, CheckpointError, Safetensors, first_line, naming

CheckpointPath = Union[str, "os.PathLike[str]"]
Device = Optional[Union[str, torch.device]]

_TEXT_BYTES = bytes({*b"\t\n\f\r", *range(32, 127), *range(128, 256)})


def load_checkpoint(path: CheckpointPath) -> Checkpoint:
    """Read our `.pt` or `.safetensors`, a released `.pt`, or a Hugging Face folder or file.

    The content tells the layout. A CheckpointError says that the file is damaged, would run code
    when unpickled, or is of no known layout; a FileNotFoundError, that there is none.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such checkpoint: {path}")
    with naming(path):
        state = _open(path)
        return replace(_layout_of(state).read(state, path), path=path)


# The first that recognises a file reads it; the last one takes any safetensors.
READABLE = (native, official, huggingface)


def _layout_of(state: Any) -> ModuleType:
    for layout in READABLE:
        if layout.recognises(state):
            return layout
    keys = ", ".join(map(str, [*state][:8])) + (", ..." if len(state) > 8 else "")
    raise CheckpointError(
        f"found no EAT checkpoint (top-level keys: {keys}), expected one of ours, a released"
        " fairseq .pt, or a Hugging Face folder or file"
    )


def _open(path: str) -> Union[Dict[str, Any], Safetensors]:
    """The content of a file, or of the weights in a folder."""
    if os.path.isdir(path):
        found = sorted(n for n in os.listdir(path) if n.endswith((".safetensors", ".bin", ".pt")))
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
    return _read_safetensors(path) if start[6:] == b"\0\0{" else read_pickle(path)


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
        _refuse_text(path)
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
            raise CheckpointError(f"damaged, or not a checkpoint: {first_line(error)}") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"found a {type(state).__name__}, expected a checkpoint")
    return state


def _refuse_text(path: str) -> None:
    """Say what a file of text is that stands where a checkpoint is expected."""
    with open(path, "rb") as file:
        start = file.read(256)
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError("found a git-lfs pointer, expected the file itself: run git lfs pull")
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise CheckpointError("found a web page, expected a checkpoint: was a login page saved?")
    if start and not start.translate(None, _TEXT_BYTES):
        raise CheckpointError("found a text file, expected a checkpoint")


def load_encoder(
    path: CheckpointPath,
    weights: str = "student",
    device: Device = None,
    dtype: Optional[torch.dtype] = None,
) -> Encoder:
    """Load the encoder of any checkpoint, in evaluation mode.

    Args:
        path: a checkpoint of any known layout.
        weights: "student", or "teacher", the moving average of a pre-training checkpoint.
        device: where to put the encoder; None is the CPU.
        dtype: what to cast it to; None is float32.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: see `load_checkpoint`; or weights do not match, or there is no teacher.
        ValueError: `weights` is neither "student" nor "teacher".
    """
    checkpoint = load_checkpoint(path)
    encoder = build_encoder(checkpoint, checkpoint.encoder_weights(weights))
    return encoder.to(device=device, dtype=dtype or torch.float32).eval()


def load_classifier(
    path: CheckpointPath, device: Device = None, dtype: Optional[torch.dtype] = None
) -> Classifier:
    """Load a fine-tuned checkpoint of any layout, in evaluation mode.

    Args:
        path, device, dtype: see `load_encoder`.

    Returns:
        The classifier; `.labels` names its classes, `.activation` turns its logits into
        probabilities, `.log_mel` is its front end.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: see `load_checkpoint`; or the file has no classifier.
    """
    classifier = build_classifier(load_checkpoint(path))
    return classifier.to(device=device, dtype=dtype or torch.float32).eval()


def convert_checkpoint(
    source: CheckpointPath,
    destination: CheckpointPath,
    to: str,
    weights: str = "student",
    force: bool = False,
    license: Optional[str] = None,
    name: Optional[str] = None,
) -> None:
    """Convert a checkpoint of any known layout to another.

    Weights are copied to the bit. Optimizer state and paths are left behind.

    Args:
        source: what `load_checkpoint` reads.
        destination: the file to write, for "huggingface" the folder.
        to: one of LAYOUTS. "eat" and "official" keep everything that the source has, teacher and
            decoder included; the others hold the encoder or classifier alone.
        weights: "student", or "teacher" to make the moving average the encoder of the export.
        force: replace what is at `destination`.
        license, name: of the model, for the card of "huggingface", see `huggingface.write`.

    Raises:
        FileNotFoundError: there is no such source.
        FileExistsError: `destination` exists and `force` is not set.
        CheckpointError: the source is no checkpoint, not complete, or lacks what is asked for.
        ValueError: an unknown `to` or `weights`; or a `license` or `name` that cannot be written.
    """
    if to not in LAYOUTS:
        raise ValueError(f"to: found {to!r}, expected one of {', '.join(LAYOUTS)}")
    card = {k: v for k, v in (("license", license), ("name", name)) if v is not None}
    if card and to != "huggingface":
        raise ValueError(f"{', '.join(card)}: found with to={to!r}, expected with 'huggingface'")
    source, destination = os.fspath(source), os.fspath(destination)
    is_same = os.path.realpath(source) == os.path.realpath(destination)
    if os.path.exists(destination) and (not force or is_same):
        raise FileExistsError(f"{destination}: exists already, expected a new name")
    checkpoint = load_checkpoint(source)
    checkpoint = replace(checkpoint, encoder=checkpoint.encoder_weights(weights))
    # Building the network is the check that nothing is missing.
    (build_encoder if checkpoint.classifier is None else build_classifier)(checkpoint)
    if to == "safetensors":
        checkpoint = replace(
            checkpoint, decoder=None, decoder_config=None, teacher=None, teacher_config=None
        )
    os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
    module, function = LAYOUTS[to].split(".")
    write = getattr(importlib.import_module(f".{module}", __package__), function)
    write(checkpoint, destination, **card)
