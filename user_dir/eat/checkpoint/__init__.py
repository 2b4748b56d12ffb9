"""Checkpoints: every known layout in, one representation out."""

from .checkpoint import Checkpoint, CheckpointError, load_weights
from .loading import load_checkpoint, load_encoder

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint", "load_encoder", "load_weights"]
