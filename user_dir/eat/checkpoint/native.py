"""Our own layout: what fairseq writes when it trains the model `eat`."""

from dataclasses import fields
from typing import Any, Dict, Mapping, Type, TypeVar

from torch import Tensor

from eat.nn import DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig

from .checkpoint import Checkpoint, Weights

Config = TypeVar("Config")


def recognises(state: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint of the model `eat`."""
    cfg = state.get("cfg")
    model_cfg = cfg.get("model") if isinstance(cfg, dict) else None
    return isinstance(model_cfg, dict) and model_cfg.get("_name") == "eat" and "model" in state


def read(state: Mapping[str, Any], path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted."""
    cfg, model = state["cfg"]["model"], state["model"]
    return Checkpoint(
        path=path,
        kind="pre-training",
        encoder_config=_config(EncoderConfig, cfg),
        encoder=_part(model, "encoder."),
        decoder_config=_config(DecoderConfig, cfg),
        decoder=_part(model, "decoder."),
        teacher_config=_config(TeacherConfig, cfg),
        teacher=_part(model, "teacher.encoder."),
        masking_config=_config(MaskingConfig, cfg),
    )


def _config(config_class: Type[Config], cfg: Dict[str, Any]) -> Config:
    return config_class(**{f.name: cfg[f.name] for f in fields(config_class) if f.name in cfg})


def _part(model: Mapping[str, Tensor], prefix: str) -> Weights:
    return {key[len(prefix) :]: value for key, value in model.items() if key.startswith(prefix)}
