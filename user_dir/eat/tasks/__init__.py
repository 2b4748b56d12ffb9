"""fairseq tasks; importing this registers them."""

from . import classification, pretraining

__all__ = ["classification", "pretraining"]
