"""EAT: Efficient Audio Transformer (arXiv 2401.03497)."""

__version__ = "0.1.0"
