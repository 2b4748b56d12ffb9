"""fairseq models; importing this registers them."""

from .pretraining import PretrainingModel, load_pretraining_model

__all__ = ["PretrainingModel", "load_pretraining_model"]
