"""Feature extraction from files, against the network alone."""

import os
import tempfile
from collections import deque
from dataclasses import replace
from typing import Any, Dict, List

import numpy as np
import soundfile
import torch

from eat import paths
from eat.checkpoint import load_encoder
from eat.features import BATCH_SIZE
from eat.features.extraction import Embedder, make_pipeline
from eat.features.storage import FeatureStore
from eat.nn import Encoder, EncoderConfig
from eat.settings import part_of

from . import RECORDINGS, ExtractionCase
from .measuring import TORCH_DTYPES, time_call

_BATCHES = {"cpu": (1, 2, 4, 8, 16), "cuda": (8, 32, 128)}  # for the network alone
_ROUND_CLIPS = {"cpu": 16, "cuda": 512}  # clips of the network alone in a round
_NUM_CLIPS = {"cpu": 32, "cuda": 512}  # recordings, unless the case says how many


def measure_extraction(case: ExtractionCase) -> Dict[str, Any]:
    """Clips per second of extraction and of the network alone; a flat dict."""
    case = replace(case, num_clips=case.num_clips or _NUM_CLIPS[case.device])
    encoder = make_encoder(case)
    extension, rate_hz, num_channels = RECORDINGS[case.kind]
    network_rate(encoder, case, 1)  # sets up the libraries
    batch = max(_BATCHES[case.device], key=lambda size: network_rate(encoder, case, size))
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_recordings(folder, case)
        extraction_rate(files[:4], encoder, case)
        for _ in range(case.repeats):  # in turn, as the machine's speed changes by the minute
            alone, whole = network_rate(encoder, case, batch), extraction_rate(files, encoder, case)
            rounds.append((alone, whole, extraction_rate(files, encoder, case, batch_size=1)))
    network, whole, one_by_one = np.array(rounds).T
    channels = ("mono", "stereo")[num_channels - 1]
    return {
        "checkpoint": os.path.basename(case.checkpoint) if case.checkpoint else case.config,
        "dtype": case.dtype,
        "files": f"{extension} {rate_hz / 1000:g} kHz {channels}, {case.seconds:g} s",
        "num_files": case.num_clips,
        "network_clips_per_second": float(np.median(network)),
        "network_batch": batch,
        "clips_per_second": float(np.median(whole)),
        "share": float(np.median(whole / network)),
        "one_by_one_clips_per_second": float(np.median(one_by_one)),
        "gain": float(np.median(whole / one_by_one)),
    }


def make_encoder(case: ExtractionCase) -> Encoder:
    """The checkpoint's encoder, or an untrained one of a config's size."""
    dtype = TORCH_DTYPES[case.dtype]
    if case.checkpoint is not None:
        return load_encoder(case.checkpoint, device=case.device, dtype=dtype)
    try:
        from omegaconf import OmegaConf
    except ImportError as error:
        raise ValueError("--config-size: needs the extra [train]; give a --checkpoint") from error
    sizes = OmegaConf.load(paths.config_dir() / f"pretrain_{case.config}.yaml").model
    torch.manual_seed(0)
    return Encoder(part_of(EncoderConfig, sizes)).to(case.device, dtype).eval()


def write_recordings(folder: str, case: ExtractionCase) -> List[str]:
    """Write tones in noise; returns their paths."""
    extension, rate_hz, num_channels = RECORDINGS[case.kind]
    time = np.arange(round(case.seconds * rate_hz))[:, None] / rate_hz
    files = [os.path.join(folder, f"{index}.{extension}") for index in range(case.num_clips)]
    for index, file in enumerate(files):
        generator = np.random.default_rng(index)
        tone = 0.3 * np.sin(2 * np.pi * generator.uniform(200, 4000) * time)
        noise = 0.05 * generator.standard_normal((len(time), num_channels))
        soundfile.write(file, tone + noise, rate_hz)
    return files


@torch.no_grad()
def network_rate(encoder: Encoder, case: ExtractionCase, batch_size: int) -> float:
    """Clips per second of the network alone, on spectrograms in memory."""
    num_samples = round(case.seconds * encoder.log_mel.reading_rate_hz)
    frames = encoder.log_mel(torch.zeros(1, num_samples)).shape[2]
    source = torch.randn(batch_size, 1, frames, encoder.config.num_mel_bins) / 2
    source = source.to(encoder.cls_token)
    repeats = max(1, _ROUND_CLIPS[case.device] // batch_size)

    passes = (encoder(source) for _ in range(repeats))
    return repeats * batch_size / time_call(lambda: deque(passes, maxlen=0), case.device)


def extraction_rate(
    files: List[str], encoder: Encoder, case: ExtractionCase, batch_size: int = 0
) -> float:
    """Clips per second from audio files to .npy files; a batch size of 0 takes the case's."""
    batch_size = batch_size or case.batch_size or BATCH_SIZE
    pipeline = make_pipeline(encoder, batch_size=batch_size, num_workers=case.num_workers)
    store = FeatureStore(os.path.join(os.path.dirname(files[0]), "out"))

    def write_all() -> None:
        for index, tokens, error in pipeline.run(files, Embedder(encoder)):
            if error is not None:
                raise error
            store.write(str(index), tokens.numpy())

    return len(files) / time_call(write_all, case.device)
