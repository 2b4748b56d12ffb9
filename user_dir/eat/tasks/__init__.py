"""fairseq tasks; importing this registers them."""

from . import pretraining

__all__ = ["pretraining"]
