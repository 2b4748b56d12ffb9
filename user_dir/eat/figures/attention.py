"""What the CLS token of a block attends to in a clip: the weights, and a picture of them."""

from typing import List, Optional

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from eat.audio import LogMel
from eat.nn import Encoder
from eat.nn.transformer import attention_weights

from .clip import draw_whole_clip, patch_grid
from .style import SHARE_COLOURS, add_note, figure_style, make_panels, show_patches

_NOTE = (
    "What to look for: bright patches where the sounds are, and heads that differ from each other."
    " Evenly lit maps, or bright patches in silence and padding, tell that CLS takes little notice"
    " of the sound."
)
_CLIP_INCHES, _MEAN_INCHES, _HEADS_INCHES = 3.4, 2.2, 1.7  # heights of the rows
# A single patch that takes nearly all would leave the rest black.
_BRIGHTEST_PERCENTILE = 99.5


@torch.no_grad()
def cls_attention(encoder: Encoder, source: Tensor, layer: int) -> Tensor:
    """What CLS attends to in a block, numbered from 1: (B, 1, T, F) -> (B, heads, 1+L), CLS first.

    The patches are in time-major order, and the last axis sums to 1.
    """
    depth = len(encoder.blocks)
    if not 1 <= layer <= depth:
        raise ValueError(f"layer: found {layer}, expected 1 to {depth}")
    attention = encoder.blocks[layer - 1].attn
    outputs: List[Tensor] = []
    hook = attention.qkv.register_forward_hook(lambda module, args, qkv: outputs.append(qkv))
    try:
        encoder(source)
    finally:
        hook.remove()
    return attention_weights(outputs[0], attention.num_heads)[:, :, 0]


def draw_layer(
    encoder: Encoder, source: Tensor, log_mel: LogMel, title: str, layer: Optional[int] = None
) -> Figure:
    """Draw a clip (1, 1, T, F) and what the CLS token of one block attends to in it.

    `layer` is the number of the block, from 1; None: the last. It is added to the title.
    """
    depth = encoder.config.depth
    layer = depth if layer is None else layer
    attention = cls_attention(encoder, source.to(encoder.cls_token), layer)[0].cpu().numpy()
    return draw_attention(source, attention, log_mel, f"{title}, block {layer} of {depth}")


@figure_style
def draw_attention(
    source: Tensor, attention: np.ndarray, log_mel: LogMel, title: str = "CLS attention"
) -> Figure:
    """Draw a clip and, below it, the attention (heads, 1+L) of CLS: the mean, then each head.

    All pictures of attention share one scale, the share of a head's attention that a patch gets.
    """
    height, width = patch_grid(source, log_mel.patch_size)
    if attention.ndim != 2 or attention.shape[1] != 1 + height * width:
        raise ValueError(
            f"attention: found shape {attention.shape}, expected (heads, {1 + height * width}) for"
            f" a grid of {height} x {width} patches"
        )
    num_columns = min(len(attention), 4)
    heights = (_CLIP_INCHES + _MEAN_INCHES, _HEADS_INCHES * -(-len(attention) // num_columns))
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    clip, mean = above.subplots(2, 1, height_ratios=(_CLIP_INCHES, _MEAN_INCHES))
    draw_whole_clip(above, clip, source, log_mel, title)
    maps = 100 * attention[:, 1:].reshape(-1, height, width)  # %
    limits = {"vmin": 0, "vmax": np.percentile(maps, _BRIGHTEST_PERCENTILE)}
    panels = make_panels(below, len(maps), num_columns, sharex=True, sharey=True)
    seconds = source.shape[2] * log_mel.frame_seconds
    for axes, one in zip([mean, *panels], [maps.mean(axis=0), *maps], strict=True):
        image = show_patches(axes, one, seconds, cmap=SHARE_COLOURS, **limits)
        axes.xaxis.set_major_formatter("{x:g}")  # short, as the panels are narrow
    for number, axes in enumerate(panels, start=1):
        axes.set_title(f"head {number}", fontsize="medium")
    mean.set_title(
        f"Mean over heads; CLS gives {100 * attention[:, 0].mean():.1f} % to itself, the rest to"
        " the patches"
    )
    mean.set(xlabel="time (s)", ylabel="patch in\nfrequency")
    above.colorbar(image, ax=mean, label="share (%)", pad=0.02, extend="max")
    below.supxlabel("time (s)", fontsize="medium")
    below.supylabel("patch in frequency", fontsize="medium")
    add_note(figure, _NOTE)
    return figure
