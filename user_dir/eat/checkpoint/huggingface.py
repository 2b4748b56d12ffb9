"""The Hugging Face layout, `config.json` and `model.safetensors`, published as `worstchan/EAT-*`.

A folder that we write also holds everything that transformers needs (`huggingface_model`), and what
the published layout leaves out: the front end, the pooling and the names of the classes. `bare`
reads the tensors, with what is told here of the configuration.
"""

import inspect
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from string import Template
from typing import Any, Dict, List, Mapping, Optional

from safetensors.torch import save

from eat import settings
from eat.audio import SAMPLE_RATE_HZ, LogMel, log_mel, ranges
from eat.files import write_file
from eat.nn import EncoderConfig, patches, transformer

from .checkpoint import (
    RANGE,
    Checkpoint,
    CheckpointError,
    Safetensors,
    beside,
    in_order,
    naming,
    to_their_names,
)

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_CARD = Path(__file__).with_name("huggingface_card.md")

# The code of a folder: the classes for transformers, and the modules that they import from `eat`.
CODE = "modeling_eat"
_CLASSES = Path(__file__).with_name("huggingface_model.py")
_MODULES = (settings, ranges, log_mel, patches, transformer)
_CODE_HEADER = f"""# Written by `eat convert --to huggingface`. Each part names its module.
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 EAT-fairseq contributors

SAMPLE_RATE_HZ = {SAMPLE_RATE_HZ:_}
"""

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
# Published name -> ours of the settings; the table of positions tells its rows.
_SIZES = {f.name: f.name for f in fields(EncoderConfig)}
_SIZES["mel_bins"] = _SIZES.pop("num_mel_bins")
del _SIZES["num_position_rows"]
_SETTINGS = {**_SIZES, **{name: name for name in ("num_classes", "pooling")}}
_FRONT_END = {"norm_mean": "mean", "norm_std": "std", "target_length": "target_length"}
_FRONT_END |= {name: name for name in RANGE}
ACTIVATIONS = {"multi_label_classification": "sigmoid", "single_label_classification": "softmax"}

# (width, depth) of the published models -> their names, for the card.
_PUBLISHED = {(768, 12): "EAT-base", (1024, 24): "EAT-large"}

# In the metadata of our weights: config.json, so that the file alone is enough.
_METADATA_KEY = "config"


def config_of(state: Safetensors, path: str) -> Optional[Dict[str, Any]]:
    """The configuration in a folder; of a file its own, or that beside it. None: there is none."""
    if not os.path.isdir(path) and _METADATA_KEY in state.metadata:
        return _parse_json(state.metadata[_METADATA_KEY])
    file = beside(path, CONFIG)
    if not file.exists():
        return None
    with naming(str(file)):
        return _parse_json(file.read_bytes())


def _parse_json(text: "str | bytes") -> Dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"damaged configuration: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError("found a configuration that is no object, expected one")
    return config


def settings_of(config: Mapping[str, Any], has_classifier: bool) -> Dict[str, Any]:
    """The settings of a network that computes what EAT does, under our names."""
    if not config:
        raise CheckpointError(f"found no {CONFIG}, expected one in a Hugging Face folder")
    variant = "finetune" if has_classifier else "pretrain"
    required = {**_REQUIRED, "stride": config.get("patch_size", 16), "model_variant": variant}
    for key, value in required.items():
        found = config.get(key, None if key == "model_type" else value)
        if found != value and (key, found) != ("model_type", "sslam"):  # EAT, pre-trained further
            raise CheckpointError(
                f"found {key}={found!r} in its configuration, expected {value!r} with these weights"
            )
    return {ours: config[key] for key, ours in _SETTINGS.items() if key in config}


def front_end(config: Mapping[str, Any]) -> Dict[str, Any]:
    """What a configuration tells of the front end, under the names of `LogMel`."""
    found = {ours: config[key] for key, ours in _FRONT_END.items() if key in config}
    return {"target_length": LogMel().target_length, **found}


def labels(config: Mapping[str, Any]) -> Optional[List[str]]:
    """The names of the classes; transformers calls them LABEL_0, LABEL_1... if it knows none."""
    id2label = config.get("id2label")
    if not id2label:
        return None
    names = in_order(((int(index), name) for index, name in id2label.items()), "id2label")
    return None if names == [f"LABEL_{index}" for index in range(len(names))] else names


def write(
    checkpoint: Checkpoint, folder: str, license: str = "unknown", name: Optional[str] = None
) -> None:
    """Write a folder that works with transformers, and that is read back to the bit.

    Replaces files of the same names. `config.json` comes last: a folder that has one is complete.
    `license`, of the weights, is an identifier of the Hub; the card's title is `name`.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise ValueError(f"license: found {license!r}, expected one of the Hub, as mit, cc-by-4.0")
    if name is not None and not (name.strip() and name.isprintable()):
        raise ValueError(f"name: found {name!r}, expected one line of text")
    config, trained = _config(checkpoint), checkpoint.front_end()
    tensors = to_their_names(checkpoint.encoder, ENCODER_KEYS)
    tensors |= to_their_names(checkpoint.classifier or {}, CLASSIFIER_KEYS)
    preprocessor_config = {
        "auto_map": {"AutoFeatureExtractor": f"{CODE}.EatFeatureExtractor"},
        "feature_extractor_type": "EatFeatureExtractor",
        "sampling_rate": trained.reading_rate_hz,
        **asdict(trained),
    }
    files = {
        WEIGHTS: save(tensors, {"format": "pt", _METADATA_KEY: json.dumps(config)}),
        f"{CODE}.py": model_code().encode(),
        "preprocessor_config.json": _json(preprocessor_config),
        "README.md": _card(checkpoint, license, name).encode(),
        CONFIG: _json(config),
    }
    with suppress(FileNotFoundError):
        os.remove(os.path.join(folder, CONFIG))
    for name, content in files.items():
        write_file(os.path.join(folder, name), content)


def _config(checkpoint: Checkpoint) -> Dict[str, Any]:
    encoder = checkpoint.encoder_config
    is_finetuned = checkpoint.classifier is not None
    model_class = "EatForAudioClassification" if is_finetuned else "EatModel"
    config = {
        "architectures": [model_class],
        "auto_map": {
            "AutoConfig": f"{CODE}.EatConfig",
            "AutoFeatureExtractor": f"{CODE}.EatFeatureExtractor",
            "AutoModel": f"{CODE}.{model_class}",
            "AutoModelForAudioClassification": f"{CODE}.EatForAudioClassification",
        },
        **_REQUIRED,
        **{theirs: getattr(encoder, ours) for theirs, ours in _SIZES.items()},
        "stride": encoder.patch_size,
        "max_length": encoder.num_position_rows,
        "img_size": [checkpoint.front_end().target_length, encoder.num_mel_bins],
        "model_variant": "finetune" if is_finetuned else "pretrain",
        "torch_dtype": str(checkpoint.encoder["cls_token"].dtype).removeprefix("torch."),
    }
    if checkpoint.log_mel is not None:
        config |= {key: getattr(checkpoint.log_mel, ours) for key, ours in _FRONT_END.items()}
    if checkpoint.classifier_config is not None:
        config |= asdict(checkpoint.classifier_config)
        checkpoint.check_head()
        for key in ("use_fc_norm", "steps_per_row"):  # the same for all of them
            del config[key]
    if checkpoint.activation is not None:
        problem_types = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
        config["problem_type"] = problem_types[checkpoint.activation]
    if checkpoint.labels is not None:
        config["id2label"] = {str(i): label for i, label in enumerate(checkpoint.labels)}
        config["label2id"] = {label: i for i, label in enumerate(checkpoint.labels)}
    return config


def model_code() -> str:
    """`modeling_eat.py`: one file that stands alone, put together from our modules.

    transformers runs the Python files of a folder. It is one file because transformers 4 does not
    find a second one if the folder's name has a dot, and it is put together because filter bank,
    positions and blocks have one definition. Gradients by hand stay here: it has plain formulas.
    """
    parts = {module.__name__: inspect.getsource(module) for module in _MODULES}
    parts["eat.checkpoint.huggingface_model"] = _CLASSES.read_text(encoding="utf-8")
    own_imports = re.compile(r"^from (?:\.|eat\b)[^(\n]*(?:\([^)]*\))?\n", re.MULTILINE)
    decorators = re.compile(r"^@by_hand.*\n", re.MULTILINE)
    sources = (
        f"# ---- {name}\n\n{decorators.sub('', own_imports.sub('', source))}"
        for name, source in parts.items()
    )
    return "\n\n".join((_CODE_HEADER, *sources))


def _card(checkpoint: Checkpoint, license: str, name: Optional[str]) -> str:
    """`README.md`: what the model is, its sizes, its front end and how to use it."""
    encoder, head = checkpoint.encoder_config, checkpoint.classifier_config
    size = _PUBLISHED.get((encoder.embed_dim, encoder.depth), "EAT")
    kind = "pre-trained" if head is None else f"fine-tuned for {head.num_classes} classes"
    weights = {**checkpoint.encoder, **(checkpoint.classifier or {})}
    weights.pop("positions")  # a table, nothing learned
    millions = sum(value.numel() for value in weights.values()) / 1e6
    text = re.sub(  # keeps the parts of the template for this kind of checkpoint
        r"<!-- if pre-training -->\n(.*?)<!-- if fine-tuned -->\n(.*?)<!-- end -->\n",
        r"\1" if head is None else r"\2",
        _CARD.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    return Template(text).substitute(
        {**vars(encoder), **vars(checkpoint.front_end()), **({} if head is None else vars(head))},
        title=name or f"{size}, {kind}",
        license=license,
        num_parameters=f"{millions:.1f}" if millions >= 1 else f"{millions:.2f}",
        activation=checkpoint.activation or "sigmoid",
        sampling_rate=checkpoint.front_end().reading_rate_hz,
    )


def _json(value: Dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
