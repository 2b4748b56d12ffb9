"""One vector per clip: what a probe gets of an encoder."""

from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eat.features import Embedder, Result, make_pipeline
from eat.features.embedding import Layers
from eat.nn import Encoder

POOLINGS = ("cls", "mean", "time")

# Passes results on and may show how far the work is.
Watch = Callable[[Iterator[Result]], Iterable[Result]]


class Source(NamedTuple):
    """Where in an encoder vectors come from: the number of a block, or "mean" of all, and how."""

    layer: Union[int, str]
    pooling: str


class ClipVectors(NamedTuple):
    """Vectors of the clips that could be read.

    Attributes:
        clips: (N,) int64, which of the inputs these are, in order.
        values: by source, (N, d) float32.
        errors: by input, why there are no vectors of it.
    """

    clips: np.ndarray
    values: Dict[Source, np.ndarray]
    errors: Dict[int, Exception]


def embed_clips(
    encoder: Encoder,
    paths: Sequence[str],
    poolings: Sequence[str] = POOLINGS,
    layers: Layers = None,
    num_steps: int = 8,
    target_length: Optional[int] = None,
    watch: Watch = iter,
) -> ClipVectors:
    """Make vectors of clips; of their features no more than that is kept.

    Args:
        encoder: from `eat.load_encoder`.
        paths: the audio files.
        poolings: what to make of the features, see `pool_tokens`.
        layers: of which blocks, see `eat.extract_features`.
        num_steps: of the pooling "time".
        target_length: see `eat.extract_features`.
        watch: gets the results as they come.

    Raises:
        ValueError: no such pooling or layer, or no clip can be read.
    """
    for pooling in poolings:
        if pooling not in POOLINGS:
            raise ValueError(f"poolings: found {pooling!r}, expected some of {POOLINGS}")
    numbers = _layer_names(layers, encoder.config.depth)
    sources = [Source(layer, pooling) for layer in numbers for pooling in poolings]
    values: Dict[Source, np.ndarray] = {}
    errors: Dict[int, Exception] = {}
    pipeline = make_pipeline(encoder, target_length=target_length)
    for index, tokens, error in watch(pipeline.run(paths, Embedder(encoder, "all", layers))):
        if error is not None:
            errors[index] = error
            continue
        tokens_of = dict(zip(numbers, tokens.reshape(-1, *tokens.shape[-2:]), strict=True))
        for source in sources:
            tokens = tokens_of[source.layer]
            vector = pool_tokens(tokens, source.pooling, encoder.config.num_columns, num_steps)
            if source not in values:
                values[source] = np.empty((len(paths), len(vector)), dtype=np.float32)
            values[source][index] = vector.numpy()
    if not values:
        raise ValueError(f"none of {len(paths)} clips can be read: {errors.get(0)}")
    clips = np.array([i for i in range(len(paths)) if i not in errors], dtype=np.int64)
    return ClipVectors(clips, {s: vectors[clips] for s, vectors in values.items()}, errors)


def pool_tokens(tokens: Tensor, pooling: str, num_columns: int, num_steps: int) -> Tensor:
    """Make a vector of the features of a clip.

    Args:
        tokens: (1+L, D), CLS first, then patches in time-major order.
        pooling: "cls"; "mean" of the patches; "time": the patches averaged over frequency, and
            over time down (or stretched) to a fixed number of steps, one after the other.
        num_columns: W, patches along frequency.
        num_steps: of "time".

    Returns:
        (D,), for "time" (num_steps * D,).
    """
    cls_token, patches = tokens[0], tokens[1:]
    if pooling == "cls":
        return cls_token
    if pooling == "mean":
        return patches.mean(dim=0)
    rows = patches.unflatten(0, (-1, num_columns)).mean(dim=1)  # (H, D)
    return F.adaptive_avg_pool1d(rows.T, num_steps).T.flatten()


def untrained_like(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same size and front end, with the random weights that training starts from.

    The state of torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        untrained = Encoder(encoder.config)
    untrained.log_mel = encoder.log_mel
    return untrained.to(encoder.cls_token).eval()


def _layer_names(layers: Layers, depth: int) -> List[Union[int, str]]:
    """What the features of `Embedder` are of, in its order."""
    if layers is None or layers == "last":
        return [depth]
    if layers == "all":
        return list(range(1, depth + 1))
    return ["mean"] if layers == "mean" else list(layers)
