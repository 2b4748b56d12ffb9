"""Checkpoints: every known layout in, one representation, every known layout out."""

from .checkpoint import Checkpoint, CheckpointError, load_weights
from .loading import (
    build_classifier,
    build_encoder,
    load_checkpoint,
    load_classifier,
    load_encoder,
)
from .saving import convert_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "build_classifier",
    "build_encoder",
    "convert_checkpoint",
    "load_checkpoint",
    "load_classifier",
    "load_encoder",
    "load_weights",
]
