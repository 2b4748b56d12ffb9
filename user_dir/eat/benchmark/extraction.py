"""Features from files, and the network alone, in turn; in a process of its own."""

import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import torch

from eat import paths
from eat.checkpoint import load_encoder
from eat.features import Embedder, make_pipeline
from eat.features.pipeline import BATCH_SIZE
from eat.features.storage import FeatureStore
from eat.nn import Encoder, EncoderConfig
from eat.settings import part_of

from .machine import DTYPES, time_call
from .recordings import KINDS, write_recordings

if TYPE_CHECKING:
    from eat.commands.benchmark.extract import Case

_BATCHES = {"cpu": (1, 2, 4, 8, 16), "cuda": (8, 32, 128)}  # for the network alone
_ROUND_CLIPS = {"cpu": 16, "cuda": 512}  # that it takes in a round


def measure_extraction(case: "Case") -> Dict[str, Any]:
    """Clips per second of extraction and of the network alone; a flat dict for the report."""
    encoder = make_encoder(case)
    network = Network(encoder, case)
    rates: Dict[str, List[float]] = {"network": [], "extraction": [], "one by one": []}
    with tempfile.TemporaryDirectory() as folder:
        kind = KINDS[case.kind]
        files = write_recordings(Path(folder) / "in", kind, case.num_clips, case.seconds)
        extract(files[:4], encoder, case, folder)  # sets up the libraries
        for _ in range(case.repeats):  # in turn, as the machine's speed changes by the minute
            rates["network"].append(network.clips_per_second())
            rates["extraction"].append(extract(files, encoder, case, folder))
            rates["one by one"].append(extract(files, encoder, case, folder, batch_size=1))
    usual = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "checkpoint": os.path.basename(case.checkpoint) if case.checkpoint else case.size,
        "dtype": case.dtype,
        "files": f"{kind}, {case.seconds:g} s",
        "num_files": case.num_clips,
        "network_clips_per_second": usual["network"],
        "network_batch": network.batch_size,
        "clips_per_second": usual["extraction"],
        "share": _median_ratio(rates["extraction"], rates["network"]),
        "one_by_one_clips_per_second": usual["one by one"],
        "gain": _median_ratio(rates["extraction"], rates["one by one"]),
    }


def make_encoder(case: "Case") -> Encoder:
    """The checkpoint's encoder, or an untrained one of a config's size."""
    dtype = DTYPES[case.dtype]
    if case.checkpoint is not None:
        return load_encoder(case.checkpoint, device=case.device, dtype=dtype)
    try:
        from omegaconf import OmegaConf
    except ImportError as error:
        raise ValueError("--config-size: needs the extra [train]; give a --checkpoint") from error
    sizes = OmegaConf.load(paths.config_dir() / f"pretrain_{case.size}.yaml").model
    torch.manual_seed(0)
    encoder = Encoder(part_of(EncoderConfig, sizes))
    return encoder.to(case.device, dtype).eval()


class Network:
    """The encoder on spectrograms in memory, as long as the recordings.

    Attributes:
        batch_size: that of `_BATCHES` which is fastest.
    """

    def __init__(self, encoder: Encoder, case: "Case") -> None:
        self._encoder = encoder
        self._device = case.device
        frames = encoder.log_mel(torch.zeros(1, round(case.seconds * 16_000))).shape[2]
        shape = (max(_BATCHES[case.device]), 1, frames, encoder.config.num_mel_bins)
        self._source = torch.randn(shape).to(encoder.cls_token) / 2
        self._run(1)
        self.batch_size = max(_BATCHES[case.device], key=lambda b: b / self._seconds(b))

    def clips_per_second(self) -> float:
        """Measured once, on as many batches as fill some time."""
        return self.batch_size / self._seconds(self.batch_size)

    def _seconds(self, batch_size: int) -> float:
        repeats = max(1, _ROUND_CLIPS[self._device] // batch_size)
        return time_call(lambda: self._run(batch_size, repeats), self._device) / repeats

    @torch.no_grad()
    def _run(self, batch_size: int, repeats: int = 1) -> None:
        for _ in range(repeats):
            self._encoder(self._source[:batch_size])


def extract(
    files: List[str], encoder: Encoder, case: "Case", folder: str, batch_size: Optional[int] = None
) -> float:
    """Clips per second from audio files to .npy files."""
    pipeline = make_pipeline(
        encoder,
        batch_size=batch_size or case.batch_size or BATCH_SIZE,
        num_workers=case.num_workers,
    )
    store = FeatureStore(os.path.join(folder, "out"))
    embedder = Embedder(encoder)

    def write_all() -> None:
        for index, tokens, error in pipeline.run(files, embedder):
            if error is not None:
                raise error
            store.write(str(index), tokens.numpy())

    return len(files) / time_call(write_all, case.device)


def _median_ratio(above: List[float], below: List[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
