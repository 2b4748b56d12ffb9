"""Checkpoints: every known layout in, one representation, every known layout out.

A layout is a module with three functions, and a line in LAYOUTS:

    recognises(state) -> bool           whether a file of this content is of this layout
    read(state, path) -> Checkpoint     `path` only finds files beside it, never enters messages
    write(checkpoint, path) -> None

`state` is the content of the file: the dictionary of a pickle, or a `checkpoint.Safetensors`. A
layout that is only written has no `read`.
"""

from eat.lazy import export

# What `eat convert --to` takes -> the module. A file is read by the first that recognises it.
LAYOUTS = {
    "eat": "native",
    "official": "official",
    "safetensors": "native_safetensors",
    "huggingface": "huggingface",
    "onnx": "onnx_export",
}

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "Checkpoint": "checkpoint",
        "CheckpointError": "checkpoint",
        "build_classifier": "building",
        "build_encoder": "building",
        "convert_checkpoint": "loading",
        "load_checkpoint": "loading",
        "load_classifier": "loading",
        "load_encoder": "loading",
        "load_weights": "building",
    },
)
