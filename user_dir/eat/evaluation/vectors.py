"""One vector per clip: what probes and maps of clips get of an encoder."""

from itertools import product
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eat.features import Embedder, Layers, make_pipeline
from eat.nn import Encoder
from eat.work import Failure

from . import POOLINGS
from .tokens import TokenStore


class Source(NamedTuple):
    """Where in an encoder vectors come from: the number of a block, or "mean" of all, and how."""

    layer: Union[int, str]
    pooling: str


class ClipVectors(NamedTuple):
    """Vectors of the clips that could be read, and the clips that could not."""

    clips: np.ndarray  # (N,) int64, which of the inputs the vectors are of, in order
    values: Dict[Source, np.ndarray]  # (N, d) float32
    failures: List[Failure]


def embed_clips(
    encoder: Encoder,
    paths: Sequence[str],
    poolings: Sequence[str] = POOLINGS,
    layers: Layers = None,
    num_steps: int = 8,
    target_length: Optional[int] = None,
    description: str = "embedding",
    store: Optional[TokenStore] = None,
) -> ClipVectors:
    """Make vectors of clips, with a progress bar; other features are kept in `store`, if given.

    For `layers` and `target_length` see `eat.extract_features`, for the poolings `pool_tokens`. A
    ValueError says that there is no such pooling or layer, or that no clip can be read.
    """
    for pooling in poolings:
        if pooling not in POOLINGS:
            raise ValueError(f"poolings: found {pooling!r}, expected some of {POOLINGS}")
    chosen = Embedder(encoder, "all", layers).layers
    embedder = Embedder(encoder, "all", layers if store is None else "all")
    vectors: Dict[int, Dict[Source, np.ndarray]] = {}

    def keep(index: int, tokens: Tensor) -> None:
        tokens = tokens.reshape(-1, *tokens.shape[-2:])
        found = dict(zip(embedder.layers, tokens, strict=True))
        if store is not None:
            found.setdefault("mean", tokens.mean(dim=0))
            store.add(index, torch.stack([found[layer] for layer in store.layers]))
        vectors[index] = {}
        for layer, pooling in product(chosen, poolings):
            vector = pool_tokens(found[layer], pooling, encoder.config.num_columns, num_steps)
            # A copy, so that the other features do not stay in memory.
            vectors[index][Source(layer, pooling)] = vector.numpy().copy()

    pipeline = make_pipeline(encoder, target_length)
    failures = pipeline.run_files(paths, embedder, keep, description)
    if not vectors:
        path, reason = failures[0]
        raise ValueError(f"none of {len(paths)} clips can be read, e.g. {path}: {reason}")
    clips = sorted(vectors)
    values = {s: np.stack([vectors[clip][s] for clip in clips]) for s in vectors[clips[0]]}
    return ClipVectors(np.array(clips), values, failures)


def pool_tokens(tokens: Tensor, pooling: str, num_columns: int, num_steps: int) -> Tensor:
    """Make a vector (D,) of the features of a clip (1+L, D), CLS first, then W columns per row.

    `pooling` is "cls"; "mean" of the patches; or "time": the patches averaged over frequency, and
    over time down (or stretched) to a fixed number of steps, one after the other: (num_steps * D,).
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
