"""The Hugging Face layout, `config.json` and `model.safetensors`, published as `worstchan/EAT-*`.

What we write has everything that transformers needs besides (`huggingface_model`), and what the
published layout leaves out: the front end, the pooling and the names of the classes.
"""

import dataclasses
import json
import os
from contextlib import suppress
from typing import Any, Dict, List, Mapping, Optional, Tuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from eat.audio import SAMPLE_RATE_HZ, LogMel
from eat.files import replace_file
from eat.nn import ClassifierConfig, EncoderConfig

from .checkpoint import Checkpoint, CheckpointError, Weights
from .huggingface_card import model_card
from .huggingface_code import CODE_NAME, model_code
from .renaming import to_our_names, to_their_names

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

# Published prefix -> ours. Everything in the file falls under exactly one of them.
ENCODER_KEYS = {
    "model.extra_tokens": "cls_token",
    "model.local_encoder.proj.": "patch_embed.proj.",
    "model.fixed_positional_encoder.positions": "positions",
    "model.pre_norm.": "pre_norm.",
    "model.blocks.": "blocks.",
}
CLASSIFIER_KEYS = {"model.fc_norm.": "fc_norm.", "model.head.": "head."}

# Settings of the published configuration that EAT leaves at these values.
_REQUIRED: Dict[str, Any] = {
    "model_type": "eat",
    "in_chans": 1,
    "qkv_bias": True,
    "layer_norm_first": False,
    "norm_affine": True,
    "fixed_positions": True,
}
# Published name -> ours.
_SIZES = {
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "norm_eps": "norm_eps",
    "patch_size": "patch_size",
    "mel_bins": "num_mel_bins",
}
_FRACTIONS = ("mlp_ratio", "norm_eps")
_ACTIVATIONS = {
    "multi_label_classification": "sigmoid",
    "single_label_classification": "softmax",
}
_FRONT_END = {"norm_mean": "mean", "norm_std": "std", "target_length": "target_length"}

# Heads of the published models by (width, depth): the one size that no tensor shows.
_NUM_HEADS = {(768, 12): 12, (1024, 24): 16}

# In the metadata of our weights: config.json, so that the file alone is enough.
_METADATA_KEY = "config"


def read(path: str) -> Checkpoint:
    """Read a folder, or a `.safetensors` file of this layout by itself.

    Without a `config.json` beside it a file must hold one of the published sizes.

    Raises:
        CheckpointError: a file is missing or damaged, or holds settings or keys that EAT has not.
    """
    if os.path.isdir(path):
        config = _read_json(os.path.join(path, CONFIG))
        tensors, _ = _read_weights(_weights_of(path))
    else:
        tensors, metadata = _read_weights(path)
        config = _config_of(path, metadata)
    encoder, rest = to_our_names(tensors, ENCODER_KEYS)
    classifier, rest = to_our_names(rest, CLASSIFIER_KEYS)
    if rest:
        raise CheckpointError(f"{path}: found unexpected keys: {', '.join(sorted(rest))}")
    if config is None:
        config = _guess_config(encoder, path)
    _check(config, bool(classifier), path)
    encoder_config = _encoder_config(config, encoder)
    return Checkpoint(
        path=path,
        kind="fine-tuned" if classifier else "pre-training",
        encoder_config=encoder_config,
        encoder=encoder,
        classifier_config=_classifier_config(config, classifier) if classifier else None,
        classifier=classifier or None,
        labels=_labels(config, path),
        activation=_ACTIVATIONS.get(config.get("problem_type")),
        log_mel=_log_mel(config, encoder_config, path),
    )


def write(checkpoint: Checkpoint, folder: str) -> None:
    """Write a folder that works with transformers, and that `read` reads back to the bit.

    Replaces files of the same names. `config.json` comes last: a folder that has one is complete.
    """
    config = _config(checkpoint)
    tensors = to_their_names(checkpoint.encoder, ENCODER_KEYS)
    tensors.update(to_their_names(checkpoint.classifier or {}, CLASSIFIER_KEYS))
    metadata = {"format": "pt", _METADATA_KEY: json.dumps(config)}
    files = {
        WEIGHTS: save(tensors, metadata),
        f"{CODE_NAME}.py": model_code().encode(),
        "preprocessor_config.json": _json(_preprocessor_config(checkpoint)),
        "README.md": model_card(checkpoint, _front_end(checkpoint)).encode(),
        CONFIG: _json(config),
    }
    os.makedirs(folder, exist_ok=True)
    with suppress(FileNotFoundError):
        os.remove(os.path.join(folder, CONFIG))
    for name, content in files.items():
        with replace_file(os.path.join(folder, name)) as file:
            file.write(content)


def _weights_of(folder: str) -> str:
    path = os.path.join(folder, WEIGHTS)
    if not os.path.exists(path):
        found = sorted(n for n in os.listdir(folder) if n.endswith((".safetensors", ".bin")))
        raise CheckpointError(
            f"{folder}: found no {WEIGHTS} (but: {', '.join(found) or 'no other weights'}),"
            " expected all weights in this one file"
        )
    return path


def _read_weights(path: str) -> Tuple[Weights, Dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error


def _config_of(path: str, metadata: Mapping[str, str]) -> Optional[Dict[str, Any]]:
    """The configuration of a bare file: its own, or that beside it; None if there is none."""
    if _METADATA_KEY in metadata:
        return _parse_json(metadata[_METADATA_KEY], path)
    beside = os.path.join(os.path.dirname(path), CONFIG)
    return _read_json(beside) if os.path.exists(beside) else None


def _read_json(path: str) -> Dict[str, Any]:
    if not os.path.exists(path):
        raise CheckpointError(
            f"{path}: found no such file, expected one in the folder of a Hugging Face model"
        )
    with open(path, "rb") as file:
        return _parse_json(file.read(), path)


def _parse_json(text: "str | bytes", path: str) -> Dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged configuration: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: found a configuration that is no object, expected one")
    return config


def _guess_config(encoder: Weights, path: str) -> Dict[str, Any]:
    """The configuration of a published model, told by its size."""
    depth = len({key.split(".")[1] for key in encoder if key.startswith("blocks.")})
    embed_dim = encoder["cls_token"].shape[-1] if "cls_token" in encoder else 0
    if (embed_dim, depth) not in _NUM_HEADS:
        raise CheckpointError(
            f"{path}: found a model of width {embed_dim} and depth {depth} without {CONFIG},"
            " expected one beside the file, to tell the number of heads"
        )
    num_heads = _NUM_HEADS[embed_dim, depth]
    return {"model_type": "eat", "embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}


def _check(config: Mapping[str, Any], has_classifier: bool, path: str) -> None:
    variant = "finetune" if has_classifier else "pretrain"
    required = {
        **_REQUIRED,
        "stride": config.get("patch_size", 16),
        "model_variant": variant,
    }
    for key, value in required.items():
        found = config.get(key, None if key == "model_type" else value)
        if found != value:
            raise CheckpointError(
                f"{path}: found {key}={found!r} in its configuration,"
                f" expected {value!r} with these weights"
            )
    for key in (*_SIZES, "num_classes"):
        found = config.get(key, 1)
        is_number = type(found) is int or (type(found) is float and key in _FRACTIONS)
        if not is_number or found <= 0:
            raise CheckpointError(
                f"{path}: found {key}={found!r} in its configuration, expected a number above 0"
            )


def _encoder_config(config: Mapping[str, Any], encoder: Weights) -> EncoderConfig:
    sizes = {ours: config[theirs] for theirs, ours in _SIZES.items() if theirs in config}
    encoder_config = EncoderConfig(**sizes)
    if "positions" in encoder:  # told by the table itself, as its length has changed over time
        columns = max(1, encoder_config.num_columns)
        encoder_config.num_position_rows = encoder["positions"].shape[0] // columns
    return encoder_config


def _classifier_config(config: Mapping[str, Any], classifier: Weights) -> ClassifierConfig:
    # A `config.json` that transformers has saved does not say num_classes.
    found = classifier["head.bias"].numel() if "head.bias" in classifier else 0
    return ClassifierConfig(config.get("num_classes", found), config.get("pooling", "cls"))


def _labels(config: Mapping[str, Any], path: str) -> Optional[List[str]]:
    """The names of the classes; transformers calls them LABEL_0, LABEL_1... if it knows none."""
    id2label = config.get("id2label")
    if not id2label:
        return None
    ids = [str(index) for index in range(len(id2label))]
    if set(id2label) != set(ids):
        raise CheckpointError(f"{path}: found id2label for {len(ids)} classes that skips some")
    labels = [id2label[index] for index in ids]
    return None if labels == [f"LABEL_{index}" for index in ids] else labels


def _log_mel(config: Mapping[str, Any], sizes: EncoderConfig, path: str) -> Optional[LogMel]:
    if any(key not in config for key in _FRONT_END):
        return None
    settings = {ours: config[theirs] for theirs, ours in _FRONT_END.items()}
    try:
        return LogMel(**settings, num_mel_bins=sizes.num_mel_bins, patch_size=sizes.patch_size)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _config(checkpoint: Checkpoint) -> Dict[str, Any]:
    encoder, log_mel = checkpoint.encoder_config, _front_end(checkpoint)
    model_class = "EatModel" if checkpoint.classifier is None else "EatForAudioClassification"
    config = {
        "architectures": [model_class],
        "auto_map": {
            "AutoConfig": f"{CODE_NAME}.EatConfig",
            "AutoFeatureExtractor": f"{CODE_NAME}.EatFeatureExtractor",
            "AutoModel": f"{CODE_NAME}.{model_class}",
            "AutoModelForAudioClassification": f"{CODE_NAME}.EatForAudioClassification",
        },
        **_REQUIRED,
        **{theirs: getattr(encoder, ours) for theirs, ours in _SIZES.items()},
        "stride": encoder.patch_size,
        "max_length": encoder.num_position_rows,
        "img_size": [log_mel.target_length, encoder.num_mel_bins],
        "model_variant": "pretrain" if checkpoint.classifier is None else "finetune",
        "torch_dtype": str(checkpoint.encoder["cls_token"].dtype).removeprefix("torch."),
    }
    if checkpoint.log_mel is not None:
        front_end = {key: getattr(checkpoint.log_mel, ours) for key, ours in _FRONT_END.items()}
        config.update(front_end)
    if checkpoint.classifier_config is not None:
        config.update(dataclasses.asdict(checkpoint.classifier_config))
    if checkpoint.activation is not None:
        problem_types = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
        config["problem_type"] = problem_types[checkpoint.activation]
    if checkpoint.labels is not None:
        config["id2label"] = {str(i): label for i, label in enumerate(checkpoint.labels)}
        config["label2id"] = {label: i for i, label in enumerate(checkpoint.labels)}
    return config


def _preprocessor_config(checkpoint: Checkpoint) -> Dict[str, Any]:
    return {
        "auto_map": {"AutoFeatureExtractor": f"{CODE_NAME}.EatFeatureExtractor"},
        "feature_extractor_type": "EatFeatureExtractor",
        "sampling_rate": SAMPLE_RATE_HZ,
        **dataclasses.asdict(_front_end(checkpoint)),
    }


def _front_end(checkpoint: Checkpoint) -> LogMel:
    """What the checkpoint was trained with; AudioSet's values where it does not say."""
    encoder, log_mel = checkpoint.encoder_config, checkpoint.log_mel or LogMel()
    return dataclasses.replace(
        log_mel,
        target_length=log_mel.target_length or LogMel().target_length,
        num_mel_bins=encoder.num_mel_bins,
        patch_size=encoder.patch_size,
    )


def _json(value: Dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
