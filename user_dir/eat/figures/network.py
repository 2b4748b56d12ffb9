"""Figures of what goes into a network and of what it looks at, from its own tensors."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from eat.audio import LogMel
from eat.nn import Encoder

from .attention import draw_attention
from .attention_maps import cls_attention
from .clip import draw_clip


def draw_input(source: Tensor, masks: np.ndarray, log_mel: LogMel, title: str) -> Figure:
    """Draw a clip as the student of pre-training gets it.

    Args:
        source: (1, 1, T, F) network input.
        masks: (K, L) bool, True = hidden.
        log_mel: the front end that made it.
        title: what to write above.

    Raises:
        ValueError: the masks are those of another length.
    """
    return draw_clip(_before_normalisation(source, log_mel), masks, log_mel.patch_size, title)


def draw_layer(encoder: Encoder, source: Tensor, layer: int, log_mel: LogMel, title: str) -> Figure:
    """Draw a clip and what the CLS token of one block attends to in it.

    Args:
        encoder: in evaluation mode.
        source: (1, 1, T, F) network input.
        layer: number of the block, from 1.
        log_mel: the front end that made the input.
        title: what to write above; the number of the block is added.

    Raises:
        ValueError: there is no such block.
    """
    attention = cls_attention(encoder, source.to(encoder.cls_token), layer)[0].cpu().numpy()
    values = _before_normalisation(source, log_mel)
    title = f"{title}, block {layer} of {encoder.config.depth}"
    return draw_attention(values, attention, log_mel.patch_size, title)


def _before_normalisation(source: Tensor, log_mel: LogMel) -> np.ndarray:
    """(1, 1, T, F) network input -> (T, F) log-mel values."""
    return (source[0, 0] * (2 * log_mel.std) + log_mel.mean).numpy()
