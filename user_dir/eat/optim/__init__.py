"""fairseq optimizers; importing this registers them."""

from . import adamw

__all__ = ["adamw"]
