"""The released layout: fairseq checkpoints of the reference code (`data2vec_multi`)."""

import math
import re
from dataclasses import asdict, fields
from typing import Any, Dict, Iterable, Mapping, Tuple

import torch

from eat.audio import LogMel
from eat.files import replace_file
from eat.nn import DecoderConfig, MaskingConfig, TeacherConfig

from .checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoint_of,
    fairseq_model_name,
    in_order,
    naming,
    to_our_names,
    to_their_names,
)

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

# (section, released name) -> our name of a setting, whichever of our configurations has it.
_SETTINGS = {
    ("model", "embed_dim"): "embed_dim",
    ("model", "depth"): "depth",
    ("model", "num_heads"): "num_heads",
    ("model", "mlp_ratio"): "mlp_ratio",
    ("model", "norm_eps"): "norm_eps",
    ("image", "patch_size"): "patch_size",
    ("decoder", "decoder_dim"): "decoder_dim",  # must be embed_dim
    ("decoder", "decoder_layers"): "decoder_depth",
    ("decoder", "decoder_kernel"): "decoder_kernel_size",
    ("decoder", "decoder_groups"): "decoder_groups",
    ("image", "mask_noise_std"): "mask_noise_std",
    ("model", "ema_decay"): "ema_decay",
    ("model", "ema_end_decay"): "ema_end_decay",
    ("model", "ema_anneal_end_step"): "ema_anneal_updates",
    ("model", "average_top_k_layers"): "average_top_k_layers",
    ("model", "clone_batch"): "num_clones",
    ("image", "mask_prob"): "mask_ratio",
    ("image", "mask_length"): "mask_block_size",
    ("image", "mask_prob_adjust"): "mask_ratio_adjust",
}

# Settings of the released model class that EAT leaves at these values: (section, name) -> value.
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

# The released task names its data set by a flag, and keeps mean and std in its code.
_NORMALISATION = {"esc50_eval": (-6.627, 5.359), "spcv2_eval": (-6.846, 5.565)}
_SOFTMAX = "esc50_eval"  # the flag of the only data set whose loss is a cross-entropy
_AUDIOSET_NORMALISATION = (-4.268, 4.569)

# The released model class has these above 0 by default, or takes them from sections that an export
# lacks.
_UNUSED = dict.fromkeys(
    (
        *("encoder_dropout", "post_mlp_drop", "attention_dropout", "activation_dropout"),
        *("dropout_input", "layerdrop", "start_drop_path_rate", "end_drop_path_rate"),
        *("min_target_var", "min_pred_var", "recon_loss"),
    ),
    0.0,
)

# In extra_state, whose unknown entries the released code ignores.
_OURS = "eat"

_POOLING = {"CLS_TOKEN": "cls", "MEAN_POOLING": "mean"}


def recognises(state: Any) -> bool:
    """Whether this is a checkpoint of the reference code, pretrained or fine-tuned."""
    return fairseq_model_name(state) in (PRETRAINED, FINETUNED)


def read(state: Mapping[str, Any], path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted."""
    task_cfg = state["cfg"].get("task") or {}
    # What `write` added because the released configuration has no place for it.
    additions = (state.get("extra_state") or {}).get(_OURS) or {}
    flags = [flag for flag in _NORMALISATION if task_cfg.get(flag)]
    mean, std = _NORMALISATION[flags[0]] if flags else _AUDIOSET_NORMALISATION
    task = {"target_length": 1024, **task_cfg, "mean": mean, "std": std, **additions}
    if state["cfg"]["model"]["_name"] == FINETUNED:
        return _read_finetuned(state, task)
    settings = _settings(state["cfg"]["model"])
    model = dict(state["model"])
    teacher = model.pop("_ema", None)
    encoder, decoder = to_our_names(model, ENCODER_KEYS, decoder_keys(model))
    if teacher is not None:
        (teacher,) = to_our_names(teacher, ENCODER_KEYS)
    embed_dim = settings.get("embed_dim", 768)
    decoder_dim = settings.get("decoder_dim", embed_dim)
    if decoder and decoder_dim != embed_dim:
        raise CheckpointError(f"found decoder_dim {decoder_dim}, expected embed_dim {embed_dim}")
    return checkpoint_of(settings, task, encoder, decoder, teacher)


def _read_finetuned(state: Mapping[str, Any], task: Dict[str, Any]) -> Checkpoint:
    model_cfg = state["cfg"]["model"]
    pretrained_cfg = (model_cfg.get("pretrained_model_args") or {}).get("model")
    if not isinstance(pretrained_cfg, dict):
        raise CheckpointError(
            "found no cfg.model.pretrained_model_args.model, expected the configuration of the"
            " pretrained model in a fine-tuned checkpoint"
        )
    encoder, head = to_our_names(state["model"], _FINETUNED_ENCODER_KEYS, CLASSIFIER_KEYS)
    if "head.bias" not in head:
        raise CheckpointError("found no head.bias, expected one in a fine-tuned checkpoint")
    pooling = model_cfg.get("prediction_mode", "CLS_TOKEN")
    use_fc_norm = model_cfg.get("use_fc_norm", True)
    if pooling not in _POOLING or not use_fc_norm:
        raise CheckpointError(
            f"found prediction_mode={pooling}, use_fc_norm={use_fc_norm}, expected one of"
            f" {sorted(_POOLING)} and use_fc_norm=True"
        )
    index_of = (state.get("task_state") or {}).get("labels") or {}  # {label: index as text}
    labels = in_order(((int(index), label) for label, index in index_of.items()), "labels")
    return checkpoint_of(
        {**_settings(pretrained_cfg), "pooling": _POOLING[pooling]},
        task,
        encoder,
        classifier=head,
        labels=labels or None,
        activation=task.get("activation", "softmax" if task.get(_SOFTMAX) else "sigmoid"),
    )


def _settings(model_cfg: Dict[str, Any]) -> Dict[str, Any]:
    """The settings that the file holds, under our names, once the fixed values are checked."""
    image = (model_cfg.get("modalities") or {}).get("image") or {}
    sections = {"model": model_cfg, "image": image, "decoder": image.get("decoder") or {}}
    for (section, key), required in _REQUIRED.items():
        found = sections[section].get(key, required)
        if found != required:
            raise CheckpointError(
                f"found {section} setting {key}={found}, expected {required} as in EAT"
            )
    return {
        ours: sections[section][theirs]
        for (section, theirs), ours in _SETTINGS.items()
        if theirs in sections[section]
    }


def decoder_keys(names: Iterable[str]) -> Dict[str, str]:
    """Released prefix -> ours, for a decoder with these names of weights, theirs or ours."""
    # Each layer is [conv, ...] there; only the convolution, item 0, has parameters.
    layers = sorted(
        {int(n) for name in names for n in re.findall(r"(?:blocks|layers)\.(\d+)", name)}
    )
    keys = {f"{_MODALITY}decoder.blocks.{n}.0.": f"layers.{n}.conv." for n in layers}
    return {**keys, f"{_MODALITY}decoder.proj.": "proj."}


def write(checkpoint: Checkpoint, path: str) -> None:
    """Write a checkpoint that the released code loads: its keys, shapes and configuration.

    Holds what `checkpoint` holds: decoder and `_ema` of a pre-training checkpoint, the head of a
    fine-tuned one. The front end's constants and the activation, which it knows by the names of its
    data sets, are kept for `read` alone.
    """
    with naming(checkpoint.path):
        _check_writable(checkpoint)
    log_mel, activation = checkpoint.log_mel, checkpoint.activation
    additions = {} if log_mel is None else {"mean": log_mel.mean, "std": log_mel.std}
    additions |= {} if activation is None else {"activation": activation}
    labels = {label: str(index) for index, label in enumerate(checkpoint.labels or [])}
    # fairseq reads the last entry, whatever it is.
    history = {"criterion_name": "ModelCriterion", "optimizer_name": "FairseqCompositeOptimizer"}
    history |= {"lr_scheduler_state": {}, "num_updates": 0}
    state = {
        "args": None,
        "cfg": _cfg(checkpoint),
        "model": _model(checkpoint),
        "criterion": None,
        "optimizer_history": [history],
        "task_state": {"labels": labels} if labels else {},
        "extra_state": {"train_iterator": {"epoch": 1}, _OURS: additions},
        "last_optimizer_state": None,
    }
    with replace_file(path) as file:
        torch.save(state, file)


def _check_writable(checkpoint: Checkpoint) -> None:
    """Refuse networks that the released code would compute differently."""
    known = {*_SETTINGS.values(), "num_position_rows"}  # the position table tells its rows
    for config in filter(None, (checkpoint.encoder_config, checkpoint.decoder_config)):
        for f in fields(config):
            found = getattr(config, f.name)
            if f.name not in known and found != f.default:
                raise CheckpointError(
                    f"found {f.name} {found}, expected {f.default} as in the released code, whose"
                    " layout does not tell it"
                )
    checkpoint.check_head()
    for name, found in checkpoint.front_end().other_range().items():
        raise CheckpointError(
            f"found {name} {found}, expected {getattr(LogMel, name)} as in the released code, whose"
            " layout does not tell it: --to eat keeps it"
        )
    labels = checkpoint.labels or []
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise CheckpointError(
            f"found several classes called {twice!r}, expected names that differ, as the released"
            " layout finds classes by name"
        )


def _model(checkpoint: Checkpoint) -> Dict[str, Any]:
    if checkpoint.classifier is not None:
        return {
            **to_their_names(checkpoint.encoder, _FINETUNED_ENCODER_KEYS),
            **to_their_names(checkpoint.classifier, CLASSIFIER_KEYS),
        }
    decoder = checkpoint.decoder or {}
    model: Dict[str, Any] = {
        **to_their_names(checkpoint.encoder, ENCODER_KEYS),
        **to_their_names(decoder, decoder_keys(decoder)),
    }
    if checkpoint.teacher is not None:
        model["_ema"] = to_their_names(checkpoint.teacher, ENCODER_KEYS)
    return model


def _cfg(checkpoint: Checkpoint) -> Dict[str, Any]:
    log_mel = checkpoint.front_end()
    task = {
        "_name": "mae_image_pretraining",
        "data": "",
        "audio_mae": True,
        "downsr_16hz": True,
        "target_length": log_mel.target_length,
        "seed": 1,
        **{flag: (log_mel.mean, log_mel.std) == own for flag, own in _NORMALISATION.items()},
    }
    cfg = {
        "_name": None,
        "common": {"_name": None, "seed": 1, "user_dir": None},
        "model": _model_cfg(checkpoint),
        "task": task,
        "criterion": {"_name": "model", "loss_weights": {}, "log_keys": [], "can_sum": True},
    }
    head = checkpoint.classifier_config
    if head is None:
        return cfg
    model = {
        "_name": FINETUNED,
        "model_path": "",
        "no_pretrained_weights": False,
        "num_classes": head.num_classes,
        "pretrained_model_args": cfg,
        "data": "",
        "use_fc_norm": True,
        "prediction_mode": {ours: theirs for theirs, ours in _POOLING.items()}[head.pooling],
        "audio_mae": True,
        **{key: task[key] for key in (*_NORMALISATION, "target_length")},
    }
    names = {"_name": FINETUNED, "label_descriptors": "label_descriptors.csv", "labels": "lbl"}
    criterion = {**cfg["criterion"], "log_keys": ["correct"]}
    return {**cfg, "model": model, "task": {**task, **names}, "criterion": criterion}


def _model_cfg(checkpoint: Checkpoint) -> Dict[str, Any]:
    """Settings of `data2vec_multi`; what a fine-tuned checkpoint does not know is EAT-base's."""
    encoder = checkpoint.encoder_config
    others = (
        checkpoint.decoder_config or DecoderConfig(decoder_groups=math.gcd(16, encoder.embed_dim)),
        checkpoint.teacher_config or TeacherConfig(average_top_k_layers=encoder.depth),
        checkpoint.masking_config or MaskingConfig(),
    )
    settings = {key: value for part in (encoder, *others) for key, value in asdict(part).items()}
    settings["decoder_dim"] = encoder.embed_dim
    sections: Dict[str, Dict[str, Any]] = {"model": {}, "image": {}, "decoder": {}}
    for (section, key), value in _REQUIRED.items():
        sections[section][key] = value
    for (section, key), ours in _SETTINGS.items():
        sections[section][key] = settings[ours]
    # A fine-tuned model builds a decoder and drops it.
    has_decoder = checkpoint.decoder is not None or checkpoint.classifier is not None
    decoder = {**sections["decoder"], "input_dropout": 0.0}
    image = {
        **sections["image"],
        "type": "IMAGE",
        "embed_dim": encoder.embed_dim,
        "model_depth": encoder.depth,
        "num_alibi_heads": encoder.num_heads,
        "fixed_positions": True,
        "target_length": checkpoint.front_end().target_length,
        "max_length": encoder.num_position_rows,
        "inverse_mask": True,
        "ema_local_encoder": True,
        "decoder": decoder if has_decoder else None,
    }
    return {
        **sections["model"],
        **_UNUSED,
        "_name": PRETRAINED,
        "ema_encoder_only": False,
        "skip_ema": checkpoint.teacher is None,
        "supported_modality": "IMAGE",
        "cls_loss": 1.0,
        "d2v_loss": 1.0,
        "max_update": 0,
        "seed": 1,
        "modalities": {"_name": None, "image": image},
    }
