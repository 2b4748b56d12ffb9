"""One vector per clip: what a probe gets of an encoder."""

from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eat.features import Result
from eat.nn import Encoder

POOLINGS = ("cls", "mean", "time")


@dataclass
class ClipVectors:
    """Vectors of the clips that could be read.

    Attributes:
        clips: (N,) int64, which of the inputs these are, in order.
        values: by pooling, (N, layers, d) float32.
        errors: by input, why there are no vectors.
    """

    clips: np.ndarray
    values: Dict[str, np.ndarray]
    errors: Dict[int, Exception] = field(default_factory=dict)


def collect_vectors(
    results: Iterable[Result],
    num_clips: int,
    num_columns: int,
    poolings: Sequence[str] = POOLINGS,
    num_steps: int = 8,
) -> ClipVectors:
    """Pool the features of clips as they come; only the vectors are kept.

    Args:
        results: a pipeline's, with tokens (layers, 1+L, D) or (1+L, D), CLS first.
        num_clips: how many there will be.
        num_columns: W, patches along frequency.
        poolings: what to make of them, see `pool_tokens`.
        num_steps: of "time".

    Raises:
        ValueError: no such pooling.
    """
    for pooling in poolings:
        if pooling not in POOLINGS:
            raise ValueError(f"poolings: found {pooling!r}, expected some of {POOLINGS}")
    values: Dict[str, np.ndarray] = {}
    errors: Dict[int, Exception] = {}
    for index, tokens, error in results:
        if error is not None:
            errors[index] = error
            continue
        for pooling in poolings:
            vector = pool_tokens(tokens, pooling, num_columns, num_steps)
            vector = torch.atleast_2d(vector).numpy()
            if pooling not in values:
                values[pooling] = np.empty((num_clips, *vector.shape), dtype=np.float32)
            values[pooling][index] = vector
    clips = np.array([index for index in range(num_clips) if index not in errors], dtype=np.int64)
    if errors:
        values = {pooling: vectors[clips] for pooling, vectors in values.items()}
    return ClipVectors(clips, values, errors)


def pool_tokens(tokens: Tensor, pooling: str, num_columns: int, num_steps: int) -> Tensor:
    """Make a vector of the features of a clip.

    Args:
        tokens: (1+L, D) or (layers, 1+L, D), CLS first, then patches in time-major order.
        pooling: "cls"; "mean" of the patches; "time": the patches averaged over frequency, and
            over time down (or stretched up) to a fixed number of steps, one after the other.
        num_columns: W, patches along frequency.
        num_steps: of "time".

    Returns:
        (D,) or (layers, D); for "time" num_steps times as long.
    """
    if pooling == "cls":
        return tokens[..., 0, :]
    patches = tokens[..., 1:, :]
    if pooling == "mean":
        return patches.mean(dim=-2)
    rows = patches.unflatten(-2, (-1, num_columns)).mean(dim=-2)  # (..., H, D)
    steps = F.adaptive_avg_pool1d(rows.transpose(-1, -2), num_steps)
    return steps.transpose(-1, -2).flatten(-2)


def untrained_like(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same size and front end with the random weights that training starts from.

    The state of torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        untrained = Encoder(encoder.config)
    untrained.log_mel = encoder.log_mel
    return untrained.to(encoder.cls_token).eval()
