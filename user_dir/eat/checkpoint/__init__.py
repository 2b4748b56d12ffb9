"""Checkpoints: every known layout in, one representation, every known layout out."""

from eat.lazy import export

# What `convert_checkpoint` writes. Here, as importing the writers takes seconds.
LAYOUTS = ("eat", "official", "huggingface", "safetensors", "onnx")

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "Checkpoint": "checkpoint",
        "CheckpointError": "checkpoint",
        "build_classifier": "loading",
        "build_encoder": "loading",
        "convert_checkpoint": "saving",
        "load_checkpoint": "loading",
        "load_classifier": "loading",
        "load_encoder": "loading",
        "load_weights": "checkpoint",
    },
)
