"""Our own layout: what fairseq writes when it trains `eat` or `eat_classifier`.

cfg.model   the model's settings, `_name` included
cfg.task    the front end: mean, std, target_length
model       encoder.*, then decoder.* and teacher.encoder.*, or fc_norm.* and head.*
task_state  labels: the names of the classes; activation: what makes probabilities of the logits
"""

from dataclasses import fields
from typing import Any, Dict, Mapping, Optional, Type, TypeVar

from torch import Tensor

from eat.audio import LogMel
from eat.nn import ClassifierConfig, DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig

from .checkpoint import Checkpoint, CheckpointError, Weights, fairseq_model_name

PRETRAINED = "eat"
FINETUNED = "eat_classifier"

Config = TypeVar("Config")


def recognises(state: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint of one of our models."""
    return fairseq_model_name(state) in (PRETRAINED, FINETUNED)


def read(state: Mapping[str, Any], path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted.

    Raises:
        CheckpointError: the file holds keys that the model does not have.
    """
    cfg, rest = state["cfg"]["model"], dict(state["model"])
    is_finetuned = cfg["_name"] == FINETUNED
    encoder_config, encoder = _config(EncoderConfig, cfg), _take(rest, "encoder.")
    decoder, teacher = _take(rest, "decoder."), _take(rest, "teacher.encoder.")
    classifier = {key: rest.pop(key) for key in list(rest) if key.startswith(("fc_norm.", "head."))}
    task_state = state.get("task_state") or {}
    if rest or (is_finetuned and (decoder or teacher)) or (not is_finetuned and classifier):
        unexpected = sorted({*rest, *(classifier if not is_finetuned else {})})
        raise CheckpointError(f"{path}: found unexpected keys: {', '.join(unexpected)}")
    return Checkpoint(
        path=path,
        kind="fine-tuned" if is_finetuned else "pre-training",
        encoder_config=encoder_config,
        encoder=encoder,
        decoder_config=_config(DecoderConfig, cfg) if decoder else None,
        decoder=decoder or None,
        teacher_config=_config(TeacherConfig, cfg) if teacher else None,
        teacher=teacher or None,
        masking_config=None if is_finetuned else _config(MaskingConfig, cfg),
        classifier_config=_classifier_config(cfg, classifier) if classifier else None,
        classifier=classifier or None,
        labels=task_state.get("labels"),
        activation=task_state.get("activation"),
        log_mel=_log_mel(state["cfg"].get("task") or {}, encoder_config),
    )


def write(checkpoint: Checkpoint) -> Dict[str, Any]:
    """A checkpoint of ours without optimizer state and paths."""
    model = {f"encoder.{key}": value for key, value in checkpoint.encoder.items()}
    model.update({f"decoder.{key}": value for key, value in (checkpoint.decoder or {}).items()})
    model.update(
        {f"teacher.encoder.{key}": value for key, value in (checkpoint.teacher or {}).items()}
    )
    model.update(checkpoint.classifier or {})
    name = FINETUNED if checkpoint.classifier is not None else PRETRAINED
    log_mel = checkpoint.log_mel
    return {
        "cfg": {
            "model": {"_name": name, **checkpoint.settings()},
            "task": {} if log_mel is None else {key: getattr(log_mel, key) for key in _FRONT_END},
        },
        "model": model,
        "task_state": {
            key: getattr(checkpoint, key)
            for key in ("labels", "activation")
            if getattr(checkpoint, key) is not None
        },
    }


_FRONT_END = ("mean", "std", "target_length")


def _log_mel(task_cfg: Mapping[str, Any], sizes: EncoderConfig) -> Optional[LogMel]:
    if any(key not in task_cfg for key in _FRONT_END):
        return None
    settings = {key: task_cfg[key] for key in _FRONT_END}
    return LogMel(**settings, num_mel_bins=sizes.num_mel_bins, patch_size=sizes.patch_size)


def _config(config_class: Type[Config], cfg: Dict[str, Any]) -> Config:
    return config_class(**{f.name: cfg[f.name] for f in fields(config_class) if f.name in cfg})


def _classifier_config(cfg: Dict[str, Any], classifier: Weights) -> ClassifierConfig:
    # A training run takes the number of classes from the labels of its data.
    found = classifier["head.bias"].numel() if "head.bias" in classifier else 0
    return ClassifierConfig(cfg.get("num_classes", found), cfg.get("pooling", "cls"))


def _take(model: Dict[str, Tensor], prefix: str) -> Weights:
    """Remove the weights of one part from `model`, and return them without the prefix."""
    keys = [key for key in model if key.startswith(prefix)]
    return {key[len(prefix) :]: model.pop(key) for key in keys}
