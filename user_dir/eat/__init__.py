"""EAT: Efficient Audio Transformer (arXiv 2401.03497).

    encoder = eat.load_encoder(path)             # any EAT checkpoint or owner/name -> eat.Encoder
    log_mel = eat.LogMel(target_length=1024)     # 16 kHz waveform -> network input
    tokens = encoder(log_mel(waveform))          # (B, 1+L, D), CLS first

None of this needs fairseq; `eat.load_pretraining_model` and the rooms `tasks`, `models`,
`criterions` and `optim` do.
"""

import importlib
from typing import Any

from eat.lazy import by_name

__version__ = "0.2.0"

# The rooms, and the public names that live in them: imported on first use, so that `import eat` is
# quick and what needs fairseq is imported only when it is used.
_ROOMS = {
    "audio": ("AudioError", "LogMel", "read_audio"),
    "checkpoint": ("CheckpointError", "convert_checkpoint", "load_classifier", "load_encoder"),
    "evaluation": ("tag", "tag_over_time"),
    "features": ("extract_features", "frame_times"),
    "models": ("load_pretraining_model",),
    "nn": ("Classifier", "Encoder", "EncoderConfig"),
    **dict.fromkeys(("criterions", "data", "optim", "tasks"), ()),
}
_PUBLIC = by_name(_ROOMS)

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    try:
        if name in _PUBLIC:
            return getattr(importlib.import_module(f"eat.{_PUBLIC[name]}"), name)
        if name in _ROOMS:
            return importlib.import_module(f"eat.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "fairseq":
            raise
        raise ModuleNotFoundError(
            f"eat.{name} needs fairseq ({error}): pip install 'eat-fairseq[train]'", name=error.name
        ) from error
    raise AttributeError(f"module 'eat' has no attribute {name!r}")


def __dir__() -> list:
    return sorted([*globals(), *_PUBLIC, *_ROOMS])
