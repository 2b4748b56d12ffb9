"""Our own layout: what fairseq writes when it trains `eat` or `eat_classifier`.

cfg.model   the model's settings, `_name` included
cfg.task    the front end: mean, std, target_length
model       encoder.*, then decoder.* and teacher.encoder.*, or fc_norm.* and head.*
task_state  labels: the names of the classes; activation: "sigmoid" or "softmax"
"""

from typing import Any, Dict, Mapping, Optional

import torch
from torch import Tensor

from eat.audio import LogMel
from eat.files import replace_file
from eat.nn import DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig

from .checkpoint import (
    Checkpoint,
    Weights,
    classifier_config_of,
    config_of,
    encoder_config_of,
    fairseq_model_name,
    refuse_rest,
)

PRETRAINED = "eat"
FINETUNED = "eat_classifier"
_FRONT_END = ("mean", "std", "target_length")


def recognises(state: Any) -> bool:
    """Whether this is a checkpoint of one of our models."""
    return fairseq_model_name(state) in (PRETRAINED, FINETUNED)


def read(state: Mapping[str, Any], path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted.

    Raises:
        CheckpointError: the file holds keys that the model does not have.
    """
    cfg, rest = state["cfg"]["model"], dict(state["model"])
    is_finetuned = cfg["_name"] == FINETUNED
    encoder = _take(rest, "encoder.")
    encoder_config = encoder_config_of(cfg, encoder)
    decoder = teacher = classifier = None
    if is_finetuned:
        classifier = {k: rest.pop(k) for k in list(rest) if k.startswith(("fc_norm.", "head."))}
    else:
        decoder, teacher = _take(rest, "decoder."), _take(rest, "teacher.encoder.")
    refuse_rest(rest)
    task_state = state.get("task_state") or {}
    return Checkpoint(
        kind="fine-tuned" if is_finetuned else "pre-training",
        encoder_config=encoder_config,
        encoder=encoder,
        decoder_config=config_of(DecoderConfig, cfg) if decoder else None,
        decoder=decoder or None,
        teacher_config=config_of(TeacherConfig, cfg) if teacher else None,
        teacher=teacher or None,
        masking_config=None if is_finetuned else config_of(MaskingConfig, cfg),
        classifier_config=classifier_config_of(cfg, classifier) if classifier else None,
        classifier=classifier or None,
        labels=task_state.get("labels"),
        activation=task_state.get("activation"),
        log_mel=_log_mel(state["cfg"].get("task") or {}, encoder_config),
    )


def write(checkpoint: Checkpoint, path: str) -> None:
    """Write a checkpoint of ours without optimizer state and paths."""
    with replace_file(path) as file:
        torch.save(state_of(checkpoint), file)


def state_of(checkpoint: Checkpoint) -> Dict[str, Any]:
    """The content of a file of this layout."""
    model = {f"encoder.{key}": value for key, value in checkpoint.encoder.items()}
    model.update({f"decoder.{key}": value for key, value in (checkpoint.decoder or {}).items()})
    model.update(
        {f"teacher.encoder.{key}": value for key, value in (checkpoint.teacher or {}).items()}
    )
    model.update(checkpoint.classifier or {})
    task_state = {"labels": checkpoint.labels, "activation": checkpoint.activation}
    name = FINETUNED if checkpoint.classifier is not None else PRETRAINED
    log_mel = checkpoint.log_mel
    return {
        "cfg": {
            "model": {"_name": name, **checkpoint.settings()},
            "task": {} if log_mel is None else {key: getattr(log_mel, key) for key in _FRONT_END},
        },
        "model": model,
        "task_state": {key: value for key, value in task_state.items() if value is not None},
    }


def _log_mel(task_cfg: Mapping[str, Any], sizes: EncoderConfig) -> Optional[LogMel]:
    if any(key not in task_cfg for key in _FRONT_END):
        return None
    settings = {key: task_cfg[key] for key in _FRONT_END}
    return LogMel(**settings, num_mel_bins=sizes.num_mel_bins, patch_size=sizes.patch_size)


def _take(model: Dict[str, Tensor], prefix: str) -> Weights:
    """Remove the weights of one part from `model`, and return them without the prefix."""
    keys = [key for key in model if key.startswith(prefix)]
    return {key[len(prefix) :]: model.pop(key) for key in keys}
