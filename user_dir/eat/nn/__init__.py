"""The networks, in plain torch, without fairseq.

In reading order: `patches`, `transformer`, `encoder`; `masking`, `teacher`, `decoder` and
`mixtures` for pre-training; `classifier` and `lora` for fine-tuning. `gradients` only makes work
on a CPU cheaper.
"""

from eat.lazy import export

_EXPORTS = {
    "classifier": ("Classifier", "ClassifierConfig"),
    "decoder": ("Decoder", "DecoderConfig"),
    "encoder": ("Encoder",),
    "gradients": ("pack_linears",),
    "masking": ("MaskingConfig",),
    "mixtures": ("MixturesConfig",),
    "teacher": ("Teacher", "TeacherConfig"),
    "transformer": ("EncoderConfig",),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
