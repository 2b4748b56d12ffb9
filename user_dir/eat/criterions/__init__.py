"""fairseq criterions; importing this registers them."""

from . import ufo

__all__ = ["ufo"]
