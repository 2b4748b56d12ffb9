"""The networks, in plain torch; nothing here knows fairseq."""

from .classifier import Classifier, ClassifierConfig
from .decoder import Decoder, DecoderConfig
from .encoder import Encoder, EncoderConfig
from .masking import MaskingConfig
from .teacher import Teacher, TeacherConfig

__all__ = [
    "Classifier",
    "ClassifierConfig",
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "MaskingConfig",
    "Teacher",
    "TeacherConfig",
]
