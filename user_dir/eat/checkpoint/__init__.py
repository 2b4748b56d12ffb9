"""Checkpoints: every known layout in, one representation, every known layout out.

A layout is a module with three functions, and a line in LAYOUTS:

    recognises(state) -> bool           whether a file of this content is of this layout
    read(state, path) -> Checkpoint     `path` only finds files beside it, never enters messages
    write(checkpoint, path) -> None

`state` is the content of the file: the dictionary of a pickle, or a `checkpoint.Safetensors`. A
module with another way to write its layout, or only that, has a line in LAYOUTS for it too.
"""

from eat.lazy import export

# What `eat convert --to` takes -> what writes it. A file is read by the first module that
# recognises it.
LAYOUTS = {
    "eat": "native.write",
    "official": "official.write",
    "safetensors": "native.write_safetensors",
    "huggingface": "huggingface.write",
    "onnx": "onnx_export.write",
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
