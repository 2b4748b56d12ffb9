"""The released layout: fairseq checkpoints of the reference code (`data2vec_multi`)."""

import math
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from eat.audio import LogMel
from eat.nn import ClassifierConfig, DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig

from .checkpoint import Checkpoint, CheckpointError, Weights, fairseq_model_name
from .renaming import to_our_names, to_their_names

PRETRAINED = "data2vec_multi"
FINETUNED = "mae_image_classification"

_MODALITY = "modality_encoders.IMAGE."
# Released prefix -> ours. Everything in the file falls under exactly one of them.
ENCODER_KEYS = {
    f"{_MODALITY}extra_tokens": "cls_token",
    f"{_MODALITY}local_encoder.proj.": "patch_embed.proj.",
    f"{_MODALITY}fixed_positional_encoder.positions": "positions",
    f"{_MODALITY}context_encoder.norm.": "pre_norm.",
    "blocks.": "blocks.",
}
_FINETUNED_ENCODER_KEYS = {f"model.{theirs}": ours for theirs, ours in ENCODER_KEYS.items()}
CLASSIFIER_KEYS = {"fc_norm.": "fc_norm.", "head.": "head."}

# Settings of the released model class that EAT leaves at these values; (section, key) -> value.
# With any other value the network would compute something else, so they are checked.
_REQUIRED: Dict[Tuple[str, str], Any] = {
    ("model", "layer_norm_first"): False,
    ("model", "end_of_block_targets"): False,
    ("model", "instance_norm_target_layer"): True,
    ("model", "layer_norm_target_layer"): False,
    ("model", "batch_norm_target_layer"): False,
    ("model", "layer_norm_targets"): True,
    ("model", "instance_norm_targets"): False,
    ("model", "norm_affine"): True,
    ("image", "use_alibi_encoder"): False,
    ("image", "prenet_depth"): 0,
    ("image", "num_extra_tokens"): 1,
    ("image", "in_chans"): 1,
    ("decoder", "decoder_residual"): True,
    ("decoder", "add_positions_masked"): False,
    ("decoder", "add_positions_all"): False,
    ("decoder", "projection_layers"): 1,
}

# The released task names its data set by a flag and keeps the constants in code.
_NORMALISATION = {"esc50_eval": (-6.627, 5.359), "spcv2_eval": (-6.846, 5.565)}
_SOFTMAX = "esc50_eval"  # the flag of the one data set whose recipe is a cross-entropy
_AUDIOSET_NORMALISATION = (-4.268, 4.569)

# What the released model class has above 0 by default, or takes from sections that an export lacks.
_UNUSED = dict.fromkeys(
    (
        *("encoder_dropout", "post_mlp_drop", "attention_dropout", "activation_dropout"),
        *("dropout_input", "layerdrop", "start_drop_path_rate", "end_drop_path_rate"),
        *("min_target_var", "min_pred_var", "recon_loss"),
    ),
    0.0,
)

# In extra_state, where the released code leaves alone what it does not know.
_OURS = "eat"

_POOLING = {"CLS_TOKEN": "cls", "MEAN_POOLING": "mean"}


def recognises(state: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint of the reference code, pretrained or fine-tuned."""
    return fairseq_model_name(state) in (PRETRAINED, FINETUNED)


def read(state: Mapping[str, Any], path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted.

    Raises:
        CheckpointError: the file holds keys or settings that EAT does not have.
    """
    model_cfg, model = state["cfg"]["model"], dict(state["model"])
    if model_cfg["_name"] == FINETUNED:
        return _read_finetuned(state, model, path)
    sections = _sections(model_cfg, path)
    teacher = model.pop("_ema", None)
    encoder, rest = to_our_names(model, ENCODER_KEYS)
    decoder, rest = to_our_names(rest, _decoder_keys(rest))
    _refuse(rest, path)
    if teacher is not None:
        teacher, rest = to_our_names(teacher, ENCODER_KEYS)
        _refuse(rest, path)
    return Checkpoint(
        path=path,
        kind="pre-training",
        encoder_config=_encoder_config(sections, encoder),
        encoder=encoder,
        decoder_config=_decoder_config(sections, path) if decoder else None,
        decoder=decoder or None,
        teacher_config=_teacher_config(sections["model"]),
        teacher=teacher,
        masking_config=_masking_config(sections),
        log_mel=_log_mel(state, sections),
    )


def _read_finetuned(state: Mapping[str, Any], model: Weights, path: str) -> Checkpoint:
    model_cfg = state["cfg"]["model"]
    pretrained_cfg = (model_cfg.get("pretrained_model_args") or {}).get("model")
    if not isinstance(pretrained_cfg, dict):
        raise CheckpointError(
            f"{path}: found no cfg.model.pretrained_model_args.model, expected the configuration"
            " of the pretrained model in a fine-tuned checkpoint"
        )
    sections = _sections(pretrained_cfg, path)
    encoder, rest = to_our_names(model, _FINETUNED_ENCODER_KEYS)
    head, rest = to_our_names(rest, CLASSIFIER_KEYS)
    _refuse(rest, path)
    if "head.bias" not in head:
        raise CheckpointError(
            f"{path}: found no head.bias, expected one in a fine-tuned checkpoint"
        )
    pooling = model_cfg.get("prediction_mode", "CLS_TOKEN")
    if pooling not in _POOLING or not model_cfg.get("use_fc_norm", True):
        raise CheckpointError(
            f"{path}: found prediction_mode={pooling},"
            f" use_fc_norm={model_cfg.get('use_fc_norm', True)},"
            f" expected one of {sorted(_POOLING)} and use_fc_norm=True"
        )
    num_classes = head["head.bias"].shape[0]
    return Checkpoint(
        path=path,
        kind="fine-tuned",
        encoder_config=_encoder_config(sections, encoder),
        encoder=encoder,
        classifier_config=ClassifierConfig(num_classes, _POOLING[pooling]),
        classifier=head,
        labels=_labels(state.get("task_state") or {}, num_classes, path),
        activation=_ours(state).get("activation", _activation(state["cfg"])),
        log_mel=_log_mel(state, sections),
    )


def _labels(task_state: Mapping[str, Any], num_classes: int, path: str) -> Optional[List[str]]:
    """The released task keeps {label: index as text}."""
    index_of = task_state.get("labels")
    if not index_of:
        return None
    labels = {int(index): label for label, index in index_of.items()}
    if sorted(labels) != list(range(num_classes)):
        raise CheckpointError(
            f"{path}: found {len(labels)} labels in task_state, expected one for each of"
            f" {num_classes} classes"
        )
    return [labels[index] for index in range(num_classes)]


def _log_mel(state: Mapping[str, Any], sections: Dict[str, Dict[str, Any]]) -> LogMel:
    task, ours = state["cfg"].get("task") or {}, _ours(state)
    mean, std = _normalisation(task)
    return LogMel(
        ours.get("mean", mean),
        ours.get("std", std),
        task.get("target_length", 1024),
        patch_size=sections["image"].get("patch_size", 16),
    )


def _normalisation(task: Mapping[str, Any]) -> Tuple[float, float]:
    flag = next((flag for flag in _NORMALISATION if task.get(flag)), "")
    return _NORMALISATION.get(flag, _AUDIOSET_NORMALISATION)


def _activation(cfg: Mapping[str, Any]) -> str:
    return "softmax" if (cfg.get("task") or {}).get(_SOFTMAX) else "sigmoid"


def _ours(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `write` has added because the released configuration has no place for it."""
    return (state.get("extra_state") or {}).get(_OURS) or {}


def _decoder_keys(names: Iterable[str]) -> Dict[str, str]:
    """Released prefix -> ours, for a decoder with these names of weights, theirs or ours."""
    # Each layer is [conv, ...] there; only the convolution, item 0, has parameters.
    layers = sorted(
        {int(n) for name in names for n in re.findall(r"(?:blocks|layers)\.(\d+)", name)}
    )
    keys = {f"{_MODALITY}decoder.blocks.{n}.0.": f"layers.{n}.conv." for n in layers}
    return {**keys, f"{_MODALITY}decoder.proj.": "proj."}


def _refuse(rest: Mapping[str, Any], path: str) -> None:
    if rest:
        raise CheckpointError(f"{path}: found unexpected keys: {', '.join(sorted(rest))}")


def _sections(model_cfg: Dict[str, Any], path: str) -> Dict[str, Dict[str, Any]]:
    """The three levels of the released model configuration, once their values are checked."""
    image = (model_cfg.get("modalities") or {}).get("image") or {}
    sections = {"model": model_cfg, "image": image, "decoder": image.get("decoder") or {}}
    for (section, key), required in _REQUIRED.items():
        found = sections[section].get(key, required)
        if found != required:
            raise CheckpointError(
                f"{path}: found {section} setting {key}={found}, expected {required} as in EAT"
            )
    return sections


def _encoder_config(sections: Dict[str, Dict[str, Any]], encoder: Weights) -> EncoderConfig:
    model, image = sections["model"], sections["image"]
    config = EncoderConfig(
        embed_dim=model.get("embed_dim", 768),
        depth=model.get("depth", 12),
        num_heads=model.get("num_heads", 12),
        mlp_ratio=model.get("mlp_ratio", 4.0),
        norm_eps=model.get("norm_eps", 1e-6),
        patch_size=image.get("patch_size", 16),
    )
    if "positions" in encoder:  # 64 rows in older files, 768 in newer ones
        config.num_position_rows = encoder["positions"].shape[0] // config.num_columns
    return config


def _decoder_config(sections: Dict[str, Dict[str, Any]], path: str) -> DecoderConfig:
    decoder, image = sections["decoder"], sections["image"]
    embed_dim = sections["model"].get("embed_dim", 768)
    if decoder.get("decoder_dim", embed_dim) != embed_dim:
        raise CheckpointError(
            f"{path}: found decoder_dim {decoder['decoder_dim']}, expected embed_dim {embed_dim}"
        )
    return DecoderConfig(
        decoder_depth=decoder.get("decoder_layers", 6),
        decoder_kernel_size=decoder.get("decoder_kernel", 3),
        decoder_groups=decoder.get("decoder_groups", 16),
        mask_noise_std=image.get("mask_noise_std", 0.01),
    )


def _teacher_config(model: Dict[str, Any]) -> TeacherConfig:
    return TeacherConfig(
        ema_decay=model.get("ema_decay", 0.9998),
        ema_end_decay=model.get("ema_end_decay", 0.99999),
        ema_anneal_updates=model.get("ema_anneal_end_step", 100_000),
        average_top_k_layers=model.get("average_top_k_layers", 12),
    )


def _masking_config(sections: Dict[str, Dict[str, Any]]) -> MaskingConfig:
    image = sections["image"]
    return MaskingConfig(
        num_clones=sections["model"].get("clone_batch", 16),
        mask_ratio=image.get("mask_prob", 0.8),
        mask_block_size=image.get("mask_length", 5),
        mask_ratio_adjust=image.get("mask_prob_adjust", 0.07),
    )


def write(checkpoint: Checkpoint) -> Dict[str, Any]:
    """A checkpoint that the released code loads: its keys, shapes and configuration.

    Holds what `checkpoint` holds: decoder and `_ema` of a pre-training checkpoint, the head of a
    fine-tuned one. No optimizer state and no path goes in. A front end or activation that none of
    the released data sets has is kept for `read` alone.

    Raises:
        CheckpointError: other mel bins than the released code has, or two classes of one name.
    """
    _check_writable(checkpoint)
    state: Dict[str, Any]
    if checkpoint.classifier is not None:
        state = to_their_names(checkpoint.encoder, _FINETUNED_ENCODER_KEYS)
        state.update(to_their_names(checkpoint.classifier, CLASSIFIER_KEYS))
        cfg = _finetuned_cfg(checkpoint)
    else:
        state = to_their_names(checkpoint.encoder, ENCODER_KEYS)
        decoder = checkpoint.decoder or {}
        state.update(to_their_names(decoder, _decoder_keys(decoder)))
        if checkpoint.teacher is not None:
            state["_ema"] = to_their_names(checkpoint.teacher, ENCODER_KEYS)
        cfg = _pretrained_cfg(checkpoint)
    labels = enumerate(checkpoint.labels or [])
    return {
        "args": None,
        "cfg": cfg,
        "model": state,
        "criterion": None,
        # fairseq looks at the last entry, whatever it is.
        "optimizer_history": [
            {
                "criterion_name": "ModelCriterion",
                "optimizer_name": "FairseqCompositeOptimizer",
                "lr_scheduler_state": {},
                "num_updates": 0,
            }
        ],
        "task_state": {"labels": {label: str(i) for i, label in labels}}
        if checkpoint.labels
        else {},
        "extra_state": {"train_iterator": {"epoch": 1}, **_additions(checkpoint, cfg)},
        "last_optimizer_state": None,
    }


def _check_writable(checkpoint: Checkpoint) -> None:
    mel_bins = checkpoint.encoder_config.num_mel_bins
    if mel_bins != EncoderConfig.num_mel_bins:
        raise CheckpointError(
            f"{checkpoint.path}: found {mel_bins} mel bins, expected {EncoderConfig.num_mel_bins}"
            " as in the released code, whose layout does not tell them"
        )
    labels = checkpoint.labels or []
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise CheckpointError(
            f"{checkpoint.path}: found several classes called {twice!r}, expected names that"
            " differ, as the released layout finds classes by name"
        )


def _additions(checkpoint: Checkpoint, cfg: Mapping[str, Any]) -> Dict[str, Any]:
    """What the released configuration cannot tell: see `_ours`."""
    ours: Dict[str, Any] = {}
    log_mel = checkpoint.log_mel
    if log_mel is not None and (log_mel.mean, log_mel.std) != _normalisation(cfg["task"]):
        ours.update(mean=log_mel.mean, std=log_mel.std)
    if checkpoint.activation not in (None, _activation(cfg)):
        ours.update(activation=checkpoint.activation)
    return {_OURS: ours} if ours else {}


def _pretrained_cfg(checkpoint: Checkpoint) -> Dict[str, Any]:
    return {
        "_name": None,
        "common": {"_name": None, "seed": 1, "user_dir": None},
        "model": _model_cfg(checkpoint),
        "task": _task_cfg(checkpoint, "mae_image_pretraining"),
        "criterion": {"_name": "model", "loss_weights": {}, "log_keys": [], "can_sum": True},
    }


def _finetuned_cfg(checkpoint: Checkpoint) -> Dict[str, Any]:
    assert checkpoint.classifier_config is not None
    mode = {ours: theirs for theirs, ours in _POOLING.items()}[checkpoint.classifier_config.pooling]
    task = _task_cfg(checkpoint, FINETUNED)
    model = {
        "_name": FINETUNED,
        "model_path": "",
        "no_pretrained_weights": False,
        "num_classes": checkpoint.classifier_config.num_classes,
        "pretrained_model_args": _pretrained_cfg(checkpoint),
        "data": "",
        "use_fc_norm": True,
        "prediction_mode": mode,
        "audio_mae": True,
        **{key: task[key] for key in ("esc50_eval", "spcv2_eval", "target_length")},
    }
    return {
        "_name": None,
        "common": {"_name": None, "seed": 1, "user_dir": None},
        "model": model,
        "task": {**task, "label_descriptors": "label_descriptors.csv", "labels": "lbl"},
        "criterion": {
            "_name": "model",
            "loss_weights": {},
            "log_keys": ["correct"],
            "can_sum": True,
        },
    }


def _model_cfg(checkpoint: Checkpoint) -> Dict[str, Any]:
    """Settings of `data2vec_multi`; what a fine-tuned checkpoint does not know is EAT-base's."""
    encoder = checkpoint.encoder_config
    decoder = checkpoint.decoder_config or DecoderConfig(
        decoder_groups=math.gcd(16, encoder.embed_dim)
    )
    teacher = checkpoint.teacher_config or TeacherConfig(average_top_k_layers=encoder.depth)
    masking = checkpoint.masking_config or MaskingConfig()
    required: Dict[str, Dict[str, Any]] = {"model": {}, "image": {}, "decoder": {}}
    for (section, key), value in _REQUIRED.items():
        required[section][key] = value
    image = {
        "type": "IMAGE",
        **required["image"],
        "patch_size": encoder.patch_size,
        "embed_dim": encoder.embed_dim,
        "model_depth": encoder.depth,
        "num_alibi_heads": encoder.num_heads,
        "fixed_positions": True,
        "target_length": _front_end(checkpoint).target_length,
        "max_length": encoder.num_position_rows,
        "mask_prob": masking.mask_ratio,
        "mask_prob_adjust": masking.mask_ratio_adjust,
        "mask_length": masking.mask_block_size,
        "inverse_mask": True,
        "mask_noise_std": decoder.mask_noise_std,
        "ema_local_encoder": True,
        "decoder": _decoder_cfg(checkpoint, decoder, required["decoder"]),
    }
    return {
        "_name": PRETRAINED,
        **required["model"],
        "embed_dim": encoder.embed_dim,
        "depth": encoder.depth,
        "num_heads": encoder.num_heads,
        "mlp_ratio": encoder.mlp_ratio,
        "norm_eps": encoder.norm_eps,
        "clone_batch": masking.num_clones,
        "average_top_k_layers": teacher.average_top_k_layers,
        "ema_decay": teacher.ema_decay,
        "ema_end_decay": teacher.ema_end_decay,
        "ema_anneal_end_step": teacher.ema_anneal_updates,
        "ema_encoder_only": False,
        "skip_ema": checkpoint.teacher is None,
        "supported_modality": "IMAGE",
        **_UNUSED,
        "cls_loss": 1.0,
        "d2v_loss": 1.0,
        "max_update": 0,
        "seed": 1,
        "modalities": {"_name": None, "image": image},
    }


def _decoder_cfg(
    checkpoint: Checkpoint, decoder: DecoderConfig, required: Dict[str, Any]
) -> Optional[Dict[str, Any]]:
    """None if there is no decoder to load; a fine-tuned model builds one and drops it."""
    if checkpoint.decoder is None and checkpoint.classifier is None:
        return None
    return {
        **required,
        "decoder_dim": checkpoint.encoder_config.embed_dim,
        "decoder_groups": decoder.decoder_groups,
        "decoder_kernel": decoder.decoder_kernel_size,
        "decoder_layers": decoder.decoder_depth,
        "input_dropout": 0.0,
    }


def _task_cfg(checkpoint: Checkpoint, name: str) -> Dict[str, Any]:
    log_mel = _front_end(checkpoint)
    flags = {flag: (log_mel.mean, log_mel.std) == found for flag, found in _NORMALISATION.items()}
    return {
        "_name": name,
        "data": "",
        "audio_mae": True,
        "downsr_16hz": True,
        "target_length": log_mel.target_length,
        "seed": 1,
        **flags,
    }


def _front_end(checkpoint: Checkpoint) -> LogMel:
    return checkpoint.log_mel or LogMel()
