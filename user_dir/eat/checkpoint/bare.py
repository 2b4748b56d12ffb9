"""Files of tensors alone, under any of the names that EAT's weights are published with.

pretrained  the `model` of a released `.pt` (`blocks.*`, `modality_encoders.IMAGE.*`), with or
            without decoder and `_ema.*`; ESP-AVES2's `eat-*` are such files
fine-tuned  the `model` of a released fine-tuned `.pt`: the same behind `model.`, and a head
ESP-AVES2   `sl-eat-*`: the Hugging Face names behind `backbone.`, and `classifier.*`, a linear head
            without a norm before it
Hugging Face  `huggingface`, whose `config.json` tells the sizes

Of all others the tensors tell the sizes.
"""

import logging
import os
from typing import Any, Dict, Mapping, Optional

from . import huggingface, official
from .checkpoint import (
    Checkpoint,
    CheckpointError,
    Safetensors,
    Weights,
    checkpoint_of,
    to_our_names,
)

logger = logging.getLogger(__name__)

# Where a pickle may keep its tensors.
_PLACES = ("model", "state_dict", "model_state_dict")
_TEACHER = "_ema"


def _behind(prefix: str, keys: Mapping[str, str]) -> Dict[str, str]:
    return {f"{prefix}{theirs}": ours for theirs, ours in keys.items()}


# Published prefixes -> ours, of encoder and head.
_FAMILIES = (
    (huggingface.ENCODER_KEYS, huggingface.CLASSIFIER_KEYS),
    (official.ENCODER_KEYS, {}),
    (_behind("model.", official.ENCODER_KEYS), official.CLASSIFIER_KEYS),
    (_behind("backbone.", huggingface.ENCODER_KEYS), {"classifier.": "head."}),
)


def tensors_of(state: Any) -> Optional[Safetensors]:
    """The content of a pickle that holds EAT's tensors and no configuration; else None."""
    if not isinstance(state, dict) or "cfg" in state:
        return None
    for place in (state, *(state.get(key) for key in _PLACES)):
        if not isinstance(place, dict):
            continue
        teacher = place.get(_TEACHER)
        tensors = {key: value for key, value in place.items() if key != _TEACHER}
        if isinstance(teacher, dict):
            tensors |= {f"{_TEACHER}.{key}": value for key, value in teacher.items()}
        if all(isinstance(key, str) for key in tensors) and max(_matches(tensors)) > 0:
            return Safetensors(tensors, {})
    return None


def _matches(tensors: Mapping[str, Any]) -> "list[int]":
    """How many names fall under the prefixes of each family."""
    return [sum(key.startswith(tuple(keys)) for key in tensors) for keys, _ in _FAMILIES]


def recognises(state: Any) -> bool:
    """Whether these are tensors alone; their names tell for certain."""
    return isinstance(state, Safetensors)


def read(state: Safetensors, path: str) -> Checkpoint:
    """Translate the tensors; a `config.json` beside them or in them tells what they do not."""
    matches = _matches(state.tensors)
    encoder_keys, head_keys = _FAMILIES[matches.index(max(matches))]
    decoder_keys = official.decoder_keys(state.tensors) if not head_keys else {}
    teacher_keys = _behind(f"{_TEACHER}.", encoder_keys)
    encoder, decoder, teacher, head = to_our_names(
        state.tensors, encoder_keys, decoder_keys, teacher_keys, head_keys
    )
    config = huggingface.config_of(state, path) or {}
    if encoder_keys is huggingface.ENCODER_KEYS and (config or os.path.isdir(path)):
        settings = huggingface.settings_of(config, bool(head))
    else:
        settings = _sizes(encoder, decoder, config.get("num_heads", state.num_heads))
    settings["use_fc_norm"] = "classifier." not in head_keys
    return checkpoint_of(
        settings,
        huggingface.front_end(config),
        *(encoder, decoder, teacher, head),
        labels=huggingface.labels(config) if head else None,
        activation=huggingface.ACTIVATIONS.get(config.get("problem_type")),
    )


# Width of the published models -> their heads.
_PUBLISHED_HEADS = {768: 12, 1024: 16}


def _sizes(encoder: Weights, decoder: Weights, num_heads: Optional[int]) -> Dict[str, Any]:
    """The settings that weights tell, and the number of heads, which they do not.

    Heads that are not stated are those of the published model of this width, with a warning; of any
    other width they must be stated: a CheckpointError.
    """
    shapes = {key: tuple(value.shape) for key, value in {**encoder, **decoder}.items()}
    width = shapes.get("cls_token", (0,))[-1]
    depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    sizes = {
        "embed_dim": width,
        "depth": depth,
        "num_heads": num_heads or _PUBLISHED_HEADS.get(width),
        "average_top_k_layers": depth,  # of the teacher, as in all recipes
    }
    # Whatever else is wrong with these is told when the weights are compared.
    if len(shapes.get("patch_embed.proj.weight", ())) == 4:
        sizes["patch_size"] = shapes["patch_embed.proj.weight"][-1]
    if width and len(shapes.get("blocks.0.mlp.fc1.bias", ())) == 1:
        sizes["mlp_ratio"] = shapes["blocks.0.mlp.fc1.bias"][0] / width
    kernels = [shape for key, shape in shapes.items() if key.endswith("conv.weight")]
    if kernels and all(len(shape) == 4 and 0 not in shape for shape in kernels):
        decoder_width, width_of_group, _, size = kernels[0]
        sizes["decoder_depth"], sizes["decoder_kernel_size"] = len(kernels), size
        sizes["decoder_groups"] = decoder_width // width_of_group
    if sizes["num_heads"] is None:
        raise CheckpointError(
            f"found weights of width {width} and depth {depth} that do not tell the number of"
            " heads, expected num_heads=... (on the command line --num-heads), or a config.json"
            " beside them"
        )
    if not num_heads:
        logger.warning(
            "the weights do not tell the number of heads: %d is taken, that of the published models"
            " of width %d",
            *(sizes["num_heads"], width),
        )
    return sizes
