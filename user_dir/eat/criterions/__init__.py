"""fairseq criterions; importing this registers them."""

from . import classification, ufo

__all__ = ["classification", "ufo"]
