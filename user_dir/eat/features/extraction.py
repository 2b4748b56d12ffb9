"""`eat.extract_features`: recordings to features."""

from dataclasses import replace
from typing import List, Optional, Sequence, Union

import numpy as np
from torch import Tensor

from eat.audio import SAMPLE_RATE_HZ, LogMel
from eat.audio.opening import AudioPath
from eat.nn import Encoder

from .embedding import Embedder, Layers
from .pipeline import BATCH_SIZE, OVERLAP_SECONDS, WINDOW_SECONDS, Pipeline

Audio = Union[AudioPath, np.ndarray, Tensor]


def extract_features(
    audio: Union[Audio, Sequence[Audio]],
    encoder: Encoder,
    granularity: str = "frame",
    layers: Layers = None,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    target_length: Optional[int] = None,
    window_seconds: float = WINDOW_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    batch_size: int = BATCH_SIZE,
    num_workers: Optional[int] = None,
    log_mel: Optional[LogMel] = None,
) -> Union[Tensor, List[Tensor]]:
    """Extract the features of recordings of any length, format and rate.

    Each clip gets what it gets alone, whatever it shares a batch with.

    Args:
        audio: a path, (S,) float samples in [-1, 1], or a list of these.
        encoder: from `eat.load_encoder`; it runs where it is, in its own dtype.
        granularity: what to return of the network's output:
            "all" (1+L, D), CLS first, then the patches;
            "frame" (L, D), the patches in time-major order;
            "utterance" (D,), CLS;
            "time" (H, D), the patches averaged over frequency: 6.25 per second, at the times that
            `frame_times(H)` gives.
        layers: outputs of which blocks: None or "last"; "all" or a list of numbers counted from 1,
            stacked in front: (layers, ...); "mean", the average over all blocks.
        sample_rate_hz: of arrays; files know theirs.
        target_length: None takes every clip at its own length, rounded up to whole patches. A
            number of frames (1024 in the released code) pads or crops every clip to it and
            attends to the padding, as the released code does; then there are no windows.
        window_seconds: longer clips run in windows of this length. Features of patches come from
            the window in whose middle they are; CLS is the mean of the windows' weighted by
            duration.
        overlap_seconds: what neighbouring windows share at least.
        batch_size: clips in one pass at most; fewer when they are long. 1 runs one after the other.
        num_workers: threads that decode, and on the CPU compute; None: one per core.
        log_mel: another front end than `encoder.log_mel`; its `target_length` counts unless one
            is given here.

    Returns:
        A float32 tensor on the CPU, for a list of inputs a list of them.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: a file that cannot be decoded, is cut off, has samples that are no numbers, or
            is shorter than 25 ms; arrays likewise.
        ValueError: an argument that is impossible.
    """
    pipeline = make_pipeline(
        encoder, target_length, window_seconds, overlap_seconds, batch_size, num_workers, log_mel
    )
    is_list = isinstance(audio, (list, tuple))
    inputs = audio if is_list else [audio]
    features: List[Optional[Tensor]] = [None] * len(inputs)
    for result in pipeline.run(inputs, Embedder(encoder, granularity, layers), sample_rate_hz):
        if result.error is not None:
            raise result.error
        features[result.index] = result.tokens
    return features if is_list else features[0]


def make_pipeline(
    encoder: Encoder,
    target_length: Optional[int] = None,
    window_seconds: float = WINDOW_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    batch_size: int = BATCH_SIZE,
    num_workers: Optional[int] = None,
    log_mel: Optional[LogMel] = None,
    hdf5_rate_hz: Optional[int] = None,
) -> Pipeline:
    """The pipeline for an encoder; arguments and errors as in `extract_features`, `read_audio`."""
    log_mel = encoder.log_mel if log_mel is None else log_mel
    if target_length is not None:
        log_mel = replace(log_mel, target_length=target_length)
    return Pipeline(
        log_mel=log_mel,
        window_seconds=window_seconds if log_mel.target_length is None else None,
        overlap_seconds=overlap_seconds,
        batch_size=batch_size,
        num_workers=num_workers,
        device=encoder.cls_token.device,
        hdf5_rate_hz=hdf5_rate_hz,
    )
