"""The networks, in plain torch; nothing here knows fairseq."""

from .decoder import Decoder, DecoderConfig
from .encoder import Encoder, EncoderConfig
from .masking import MaskingConfig
from .teacher import Teacher, TeacherConfig

__all__ = [
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "MaskingConfig",
    "Teacher",
    "TeacherConfig",
]
