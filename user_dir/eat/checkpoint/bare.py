"""Files of tensors alone, under any of the names that EAT's weights are published with.

pretrained  the `model` of a released `.pt` (`blocks.*`, `modality_encoders.IMAGE.*`), with or
            without decoder and `_ema.*`; ESP-AVES2's `eat-*` are such files
fine-tuned  the `model` of a released fine-tuned `.pt`: the same behind `model.`, and a head
ESP-AVES2   `sl-eat-*`: the Hugging Face names behind `backbone.`, and `classifier.*`, a linear head
            without a norm before it

Nothing but the tensors tells the sizes; see `checkpoint.sizes_of`.
"""

from typing import Any, Dict, Mapping, Optional

from torch import Tensor

from . import huggingface, official
from .checkpoint import Checkpoint, Safetensors, Weights, checkpoint_of, sizes_of, to_our_names

# Where a pickle may keep its tensors.
_PLACES = ("model", "state_dict", "model_state_dict")
_TEACHER = "_ema"


def _behind(prefix: str, keys: Mapping[str, str]) -> Dict[str, str]:
    return {f"{prefix}{theirs}": ours for theirs, ours in keys.items()}


# Published prefixes -> ours, of encoder and head. The first is the layout of another module.
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
    """Whether the names are those of a family here, rather than of the Hugging Face layout."""
    if not isinstance(state, Safetensors):
        return False
    theirs, *ours = _matches(state.tensors)
    return max(ours) > theirs


def read(state: Safetensors, path: str) -> Checkpoint:
    """Translate the tensors; a `config.json` beside them may tell heads, mean and std."""
    matches = _matches(state.tensors)
    encoder_keys, head_keys = _FAMILIES[matches.index(max(matches))]
    decoder_keys = official.decoder_keys(state.tensors) if not head_keys else {}
    encoder, decoder, teacher, head = to_our_names(
        state.tensors, encoder_keys, decoder_keys, _behind(f"{_TEACHER}.", encoder_keys), head_keys
    )
    config = huggingface.config_beside(path) or {}
    heads = config.get("num_heads", state.num_heads)
    settings = {**sizes_of(encoder, heads), **_decoder_sizes(decoder)}
    settings["average_top_k_layers"] = settings["depth"]  # of the teacher, as in all recipes
    settings["use_fc_norm"] = "classifier." not in head_keys
    return checkpoint_of(
        "fine-tuned" if head else "pre-training",
        settings,
        huggingface.front_end(config),
        *(encoder, decoder, teacher, head),
        labels=huggingface.labels(config) if head else None,
    )


def _decoder_sizes(decoder: Weights) -> Dict[str, int]:
    """Layers, kernel and groups of the convolutions; nothing without a whole decoder."""
    kernels = [value for key, value in decoder.items() if key.endswith("conv.weight")]
    if not kernels or not all(isinstance(k, Tensor) and k.ndim == 4 and k.numel() for k in kernels):
        return {}
    width, width_of_group, _, size = kernels[0].shape
    return {
        "decoder_depth": len(kernels),
        "decoder_kernel_size": size,
        "decoder_groups": width // width_of_group,
    }
