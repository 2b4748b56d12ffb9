"""`eat.extract_features`: which features of recordings an encoder gives."""

import os
from dataclasses import replace
from numbers import Integral
from typing import Any, Iterable, List, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from eat.audio import LogMel
from eat.audio.opening import AudioPath
from eat.checkpoint import load_encoder
from eat.checkpoint.loading import CheckpointPath
from eat.nn import Encoder, pack_linears

from . import BATCH_SIZE, GRANULARITIES, OVERLAP_SECONDS, WINDOW_SECONDS, Layers
from .pipeline import Pipeline
from .windows import TokenLayout

Audio = Union[AudioPath, np.ndarray, Tensor]


def extract_features(
    audio: Union[Audio, Sequence[Audio]],
    encoder: Union[Encoder, CheckpointPath],
    granularity: str = "frame",
    layers: Layers = None,
    *,
    sample_rate_hz: Optional[int] = None,
    target_length: Optional[int] = None,
    window_seconds: Optional[float] = None,
    overlap_seconds: Optional[float] = None,
    batch_size: int = BATCH_SIZE,
    num_workers: Optional[int] = None,
    log_mel: Optional[LogMel] = None,
) -> Union[Tensor, List[Tensor]]:
    """Extract the features of recordings of any length, format and rate.

    Args:
        audio: a path, (S,) float samples in [-1, 1], or a list of these.
        encoder: from `eat.load_encoder`, run on its own device in its own dtype; or a checkpoint.
            On a CPU `eat.nn.pack_linears(encoder)` makes it faster, and unfit for training.
        granularity: "all" (1+L, D), CLS first; "frame" (L, D), the patches in time-major order;
            "utterance" (D,), CLS; "time" (H, D), the patches averaged over frequency, at the
            times of `frame_times(H, encoder.log_mel.step_seconds)`, 6.25 per second as released.
        layers: outputs of which blocks: None or "last"; "all" or numbers from 1, stacked in front:
            (layers, ...); "mean", the average over all blocks.
        sample_rate_hz: of arrays; must be given if the front end reads at another rate than 16000.
        target_length: frames that every clip is padded or cropped to, without windows; the padding
            is attended to, as in the released code (there 1024). None: each clip's own length.
        window_seconds, overlap_seconds, batch_size, num_workers: see `Pipeline`.
        log_mel: instead of `encoder.log_mel`; its `target_length` counts if none is given here.

    Returns:
        A float32 tensor on the CPU, or a list of them for a list. A clip gets what it gets alone.

    Raises:
        FileNotFoundError, AudioError: a recording that cannot be read; the message names it.
        ValueError: an impossible argument.
    """
    if isinstance(encoder, (str, os.PathLike)):
        encoder = pack_linears(load_encoder(encoder))
    settings = {"window_seconds": window_seconds, "overlap_seconds": overlap_seconds}
    settings |= {"batch_size": batch_size, "num_workers": num_workers}
    pipeline = make_pipeline(encoder, target_length, log_mel, **settings)
    is_list = isinstance(audio, (list, tuple))
    features: List[Any] = [None] * len(inputs := audio if is_list else [audio])
    for result in pipeline.run(inputs, Embedder(encoder, granularity, layers), sample_rate_hz):
        if result.error is not None:
            raise result.error
        features[result.index] = result.tokens
    return features if is_list else features[0]


def make_pipeline(
    encoder: Encoder,
    target_length: Optional[int] = None,
    log_mel: Optional[LogMel] = None,
    **settings: Any,
) -> Pipeline:
    """The pipeline for an encoder on its device; `settings` are further fields of `Pipeline`.

    Windows that are None have as many frames as those of the released front end by default.
    """
    log_mel = encoder.log_mel if log_mel is None else log_mel
    if target_length is not None:
        log_mel = replace(log_mel, target_length=target_length)
    scale = log_mel.step_seconds / LogMel().step_seconds
    for name, value in (("window_seconds", WINDOW_SECONDS), ("overlap_seconds", OVERLAP_SECONDS)):
        if settings.get(name) is None:
            settings[name] = value * scale
    if log_mel.target_length is not None:
        settings["window_seconds"] = None
    return Pipeline(log_mel, device=encoder.cls_token.device, **settings)


class Embedder:
    """An encoder that returns the features of one granularity, of one or more layers."""

    def __init__(self, encoder: Encoder, granularity: str = "frame", layers: Layers = None) -> None:
        if granularity not in GRANULARITIES:
            raise ValueError(f"granularity: found {granularity!r}, expected one of {GRANULARITIES}")
        columns = encoder.config.num_columns
        layouts = {"all": (1, columns), "frame": (0, columns), "utterance": (1, 0), "time": (0, 1)}
        self.layout = TokenLayout(*layouts[granularity])  # of the returned tokens
        self._encoder = encoder
        self._is_over_frequency = granularity == "time"
        self._blocks = _block_numbers(layers, encoder.config.depth)
        name = layers if isinstance(layers, str) else None  # arrays do not compare as wholes
        self._is_single = layers is None or name == "last"
        # Of what the returned tokens are: numbers of blocks, from 1, or "mean".
        self.layers: List[Union[int, str]] = ["mean"] if name == "mean" else [*self._blocks]

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) normalised log-mel and (B,) valid frames (None: all) -> (B, N, D).

        The N tokens are what `layout` says, float32 on the CPU; several layers: (B, layers, N, D).
        """
        source = source.to(self._encoder.cls_token)
        outputs = {}
        for number, (x, _) in enumerate(self._encoder.layers(source, lengths), 1):
            if number in self._blocks:
                outputs[number] = self._select(x.float()).cpu()
        chosen = torch.stack([outputs[number] for number in self._blocks], dim=1)
        if self._is_single:
            return chosen.squeeze(1)
        return chosen.mean(dim=1) if self.layers == ["mean"] else chosen

    def _select(self, x: Tensor) -> Tensor:
        """(B, 1+L, D) -> (B, N, D)."""
        if self._is_over_frequency:
            return x[:, 1:].unflatten(1, (-1, self._encoder.config.num_columns)).mean(dim=2)
        num_summary, per_row = self.layout
        return x[:, 1 - num_summary : None if per_row else 1]


def _block_numbers(layers: Layers, depth: int) -> List[int]:
    """Blocks whose outputs are needed, counted from 1."""
    if layers is None or isinstance(layers, str):
        every = list(range(1, depth + 1))
        numbers = {None: [depth], "last": [depth], "all": every, "mean": every}.get(layers, [])
    else:
        numbers = list(layers) if isinstance(layers, Iterable) else []
    if not numbers or not all(isinstance(n, Integral) and 1 <= n <= depth for n in numbers):
        raise ValueError(
            f'layers: found {layers!r}, expected "last", "all", "mean" or numbers of blocks from 1'
            f" to {depth}"
        )
    return [int(number) for number in numbers]
