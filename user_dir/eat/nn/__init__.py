"""The networks, in plain torch, without fairseq.

In reading order: `patches`, `transformer`, `encoder`; `masking`, `teacher`, `decoder` and
`mixtures` for pre-training; `classifier` and `lora` for fine-tuning. `gradients` only makes work
on a CPU cheaper.
"""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "Classifier": "classifier",
        "ClassifierConfig": "classifier",
        "Decoder": "decoder",
        "DecoderConfig": "decoder",
        "Encoder": "encoder",
        "EncoderConfig": "transformer",
        "MaskingConfig": "masking",
        "MixturesConfig": "mixtures",
        "Teacher": "teacher",
        "TeacherConfig": "teacher",
        "pack_linears": "gradients",
    },
)
