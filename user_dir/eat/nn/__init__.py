"""The networks, in plain torch; nothing here knows fairseq."""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "Classifier": "classifier",
        "ClassifierConfig": "classifier",
        "Decoder": "decoder",
        "DecoderConfig": "decoder",
        "Encoder": "encoder",
        "EncoderConfig": "encoder",
        "MaskingConfig": "masking",
        "Teacher": "teacher",
        "TeacherConfig": "teacher",
    },
)
