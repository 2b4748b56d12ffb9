"""The released layout: fairseq checkpoints of the reference code (`data2vec_multi`)."""

from typing import Any, Dict, Mapping, Optional, Tuple

from torch import Tensor

from eat.nn import DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig

from .checkpoint import Checkpoint, CheckpointError, Weights

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
DECODER_BLOCKS = f"{_MODALITY}decoder.blocks."
DECODER_PROJ = f"{_MODALITY}decoder.proj."

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


def recognises(state: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint of the reference code, pretrained or fine-tuned."""
    cfg = state.get("cfg")
    model_cfg = cfg.get("model") if isinstance(cfg, dict) else None
    name = model_cfg.get("_name") if isinstance(model_cfg, dict) else None
    return name in (PRETRAINED, FINETUNED) and isinstance(state.get("model"), dict)


def read(state: Mapping[str, Any], path: str) -> Checkpoint:
    """Translate a checkpoint that `recognises` accepted.

    Raises:
        CheckpointError: the file holds keys or settings that EAT does not have.
    """
    model_cfg, model = state["cfg"]["model"], dict(state["model"])
    if model_cfg["_name"] == FINETUNED:
        return _read_finetuned(model_cfg, model, path)
    sections = _sections(model_cfg, path)
    teacher = model.pop("_ema", None)
    encoder, decoder, rest = _split(model)
    _refuse(rest, path)
    if teacher is not None:
        teacher, _, rest = _split(teacher)
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
    )


def _read_finetuned(model_cfg: Dict[str, Any], model: Weights, path: str) -> Checkpoint:
    pretrained_cfg = (model_cfg.get("pretrained_model_args") or {}).get("model")
    if not isinstance(pretrained_cfg, dict):
        raise CheckpointError(
            f"{path}: found no cfg.model.pretrained_model_args.model, expected the configuration"
            " of the pretrained model in a fine-tuned checkpoint"
        )
    sections = _sections(pretrained_cfg, path)
    weights = {_without_prefix(key, "model."): value for key, value in model.items()}
    encoder, _, rest = _split(weights)
    head = {key: rest.pop(key) for key in list(rest) if key.startswith(("fc_norm.", "head."))}
    _refuse(rest, path)
    if not head:
        raise CheckpointError(f"{path}: found no head.*, expected one in a fine-tuned checkpoint")
    return Checkpoint(
        path=path,
        kind="fine-tuned",
        encoder_config=_encoder_config(sections, encoder),
        encoder=encoder,
    )


def _without_prefix(key: str, prefix: str) -> str:
    return key[len(prefix) :] if key.startswith(prefix) else key


def _split(model: Mapping[str, Tensor]) -> Tuple[Weights, Weights, Weights]:
    """Encoder and decoder weights under our names, and whatever is neither."""
    encoder: Weights = {}
    decoder: Weights = {}
    rest: Weights = {}
    for key, value in model.items():
        encoder_key, decoder_key = _encoder_key(key), _decoder_key(key)
        if encoder_key is not None:
            encoder[encoder_key] = value[0] if encoder_key == "positions" else value
        elif decoder_key is not None:
            decoder[decoder_key] = value
        else:
            rest[key] = value
    return encoder, decoder, rest


def _encoder_key(key: str) -> Optional[str]:
    for theirs, ours in ENCODER_KEYS.items():
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    return None


def _decoder_key(key: str) -> Optional[str]:
    if key.startswith(DECODER_PROJ):
        return "proj." + key[len(DECODER_PROJ) :]
    if key.startswith(DECODER_BLOCKS):
        # Each layer is [conv, ...] there; only the convolution, item 0, has parameters.
        index, item, name = key[len(DECODER_BLOCKS) :].split(".", 2)
        if item == "0":
            return f"layers.{index}.conv.{name}"
    return None


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
