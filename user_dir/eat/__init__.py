"""EAT: Efficient Audio Transformer (arXiv 2401.03497).

    encoder = eat.load_encoder(path)             # any EAT checkpoint or owner/name -> eat.Encoder
    log_mel = eat.LogMel(target_length=1024)     # 16 kHz waveform -> network input
    tokens = encoder(log_mel(waveform))          # (B, 1+L, D), CLS first

None of this needs fairseq; `eat.load_pretraining_model` and the rooms `tasks`, `models`,
`criterions` and `optim` do.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

# Public names and the modules they live in: imported on first use, so that `import eat` is quick
# and what needs fairseq is imported only when it is used.
_PUBLIC = {
    "AudioError": "eat.audio",
    "CheckpointError": "eat.checkpoint",
    "Classifier": "eat.nn",
    "Encoder": "eat.nn",
    "EncoderConfig": "eat.nn",
    "LogMel": "eat.audio",
    "convert_checkpoint": "eat.checkpoint",
    "extract_features": "eat.features",
    "frame_times": "eat.features",
    "load_classifier": "eat.checkpoint",
    "load_encoder": "eat.checkpoint",
    "load_pretraining_model": "eat.models",
    "read_audio": "eat.audio",
    "tag": "eat.evaluation",
    "tag_over_time": "eat.evaluation",
}
_ROOMS = (
    *("audio", "checkpoint", "criterions", "data", "evaluation", "features", "models", "nn"),
    *("optim", "tasks"),
)

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    try:
        if name in _PUBLIC:
            return getattr(importlib.import_module(_PUBLIC[name]), name)
        if name in _ROOMS:
            return importlib.import_module(f"eat.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "fairseq":
            raise
        raise ModuleNotFoundError(
            f"eat.{name} needs fairseq ({error}): pip install 'eat-fairseq[train]'",
            name=error.name,
        ) from error
    raise AttributeError(f"module 'eat' has no attribute {name!r}")


def __dir__() -> list:
    return sorted([*globals(), *_PUBLIC, *_ROOMS])
