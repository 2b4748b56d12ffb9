"""Checkpoints: every known layout in, one representation, every known layout out.

A layout that is read is a module with two functions, listed in `loading.READABLE`:

    recognises(state) -> bool           whether a file of this content is of this layout
    read(state, path) -> Checkpoint     `path` only finds files beside it, never enters messages

`state` is the content of the file: the dictionary of a pickle, or a `checkpoint.Safetensors`, which
`bare` also makes of pickles of tensors alone; `hub` turns a name into a path, `source` adds what no
file tells. A layout that is written is a function `write(checkpoint, path)`, named in LAYOUTS.
"""

from eat.lazy import export

# What `eat convert --to` takes -> what writes it.
LAYOUTS = {
    "eat": "native.write",
    "official": "official.write",
    "safetensors": "native.write_safetensors",
    "huggingface": "huggingface.write",
    "onnx": "onnx_export.write",
}

_EXPORTS = {
    "building": ("build_classifier", "build_encoder", "load_weights"),
    "checkpoint": ("Checkpoint", "CheckpointError"),
    "loading": ("convert_checkpoint", "load_checkpoint", "load_classifier", "load_encoder"),
    "source": ("Source",),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
