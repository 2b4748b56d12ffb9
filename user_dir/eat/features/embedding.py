"""Which features of a clip: granularity and layers."""

from numbers import Integral
from typing import Iterable, List, Optional, Sequence, Union

import torch
from torch import Tensor

from eat.nn import Encoder

from .merging import TokenLayout

Layers = Optional[Union[str, Sequence[int]]]

GRANULARITIES = ("all", "frame", "utterance", "time")


class Embedder:
    """An encoder that returns the features of one granularity, of one or more layers.

    Attributes:
        layout: what the returned tokens are.

    Raises:
        ValueError: no such granularity or layer.
    """

    def __init__(self, encoder: Encoder, granularity: str = "frame", layers: Layers = None) -> None:
        if granularity not in GRANULARITIES:
            raise ValueError(f"granularity: found {granularity!r}, expected one of {GRANULARITIES}")
        num_columns = encoder.config.num_columns
        self.layout = {
            "all": TokenLayout(1, num_columns),
            "frame": TokenLayout(0, num_columns),
            "utterance": TokenLayout(1, 0),
            "time": TokenLayout(0, 1),
        }[granularity]
        self._encoder = encoder
        self._granularity = granularity
        name = layers if isinstance(layers, str) else None  # arrays do not compare as wholes
        self._is_single = layers is None or name == "last"
        self._is_mean = name == "mean"
        self._blocks = _block_numbers(layers, encoder.config.depth)

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """Embed windows.

        Args:
            source: (B, 1, T, F) normalised log-mel, on the encoder's device.
            lengths: (B,) valid frames; None: all.

        Returns:
            (B, N, D) float32 on the CPU, N tokens as `layout` says; (B, layers, N, D) if several
            layers were asked for.
        """
        parameter = self._encoder.cls_token
        outputs = {}
        for number, (x, _) in enumerate(self._encoder.layers(source.to(parameter), lengths), 1):
            if number in self._blocks:
                outputs[number] = self._select(x.float()).cpu()
        chosen = torch.stack([outputs[number] for number in self._blocks], dim=1)
        if self._is_single:
            return chosen.squeeze(1)
        return chosen.mean(dim=1) if self._is_mean else chosen

    def _select(self, x: Tensor) -> Tensor:
        """(B, 1+L, D) -> (B, N, D)."""
        if self._granularity == "all":
            return x
        if self._granularity == "utterance":
            return x[:, :1]
        patches = x[:, 1:]
        if self._granularity == "frame":
            return patches
        return patches.unflatten(1, (-1, self._encoder.config.num_columns)).mean(dim=2)


def _block_numbers(layers: Layers, depth: int) -> List[int]:
    """Blocks whose outputs are needed, counted from 1."""
    every = list(range(1, depth + 1))
    if layers is None or isinstance(layers, str):
        named = {None: [depth], "last": [depth], "all": every, "mean": every}
        numbers = named.get(layers, [])
    else:
        numbers = list(layers) if isinstance(layers, Iterable) else []
    if not numbers or not all(isinstance(n, Integral) and 1 <= n <= depth for n in numbers):
        raise ValueError(
            f'layers: found {layers!r}, expected "last", "all", "mean" or numbers of blocks from 1'
            f" to {depth}"
        )
    return [int(number) for number in numbers]
