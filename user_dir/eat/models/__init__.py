"""fairseq models; importing this registers them."""

from .classification import ClassificationModel
from .pretraining import PretrainingModel, load_pretraining_model

__all__ = ["ClassificationModel", "PretrainingModel", "load_pretraining_model"]
