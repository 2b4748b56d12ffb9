"""Features of recordings: any length, in batches, in bounded memory."""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Union

from eat.lazy import export
from eat.machine import DEVICES
from eat.settings import setting

from .sharding import Shard

# Here, because the options of commands need them, and the modules that use them import torch.
GRANULARITIES = ("all", "frame", "utterance", "time")
FORMATS = ("npy", "npz", "safetensors")
# Four times the 10.24 s of training: a window is one pass, and attention grows with its square.
WINDOW_SECONDS = 40.96
OVERLAP_SECONDS = 5.12  # a frame at a seam still has half of it as context
BATCH_SIZE = 32

Layers = Optional[Union[str, Sequence[int]]]


def _parse_layers(text: str) -> Union[str, List[int]]:
    if text in ("last", "all", "mean"):
        return text
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        expected = "last, all, mean or numbers of blocks such as 3,6,9"
        raise ValueError(f"found {text!r}, expected {expected}")
    return [int(number) for number in numbers]


@dataclass(kw_only=True)
class DeviceOption:
    """Where to compute."""

    device: str = setting("where to compute; auto: cuda if there is one", "auto", choices=DEVICES)


@dataclass(kw_only=True)
class WeightsOption:
    """Whose weights to take."""

    weights: str = setting(
        "whose weights of a pre-training checkpoint", "student", choices=("student", "teacher")
    )


@dataclass(kw_only=True)
class LayersOption:
    """Which blocks' outputs to take."""

    layers: Layers = setting(
        "blocks whose outputs are taken: last; all, or numbers from 1 such as 3,6,9; or mean, the"
        " average over all blocks",
        "last",
        parse=_parse_layers,
    )


@dataclass(kw_only=True)
class TargetLengthOption:
    """How long clips are made."""

    target_length: Optional[int] = setting(
        "frames (of 10 ms as released), a multiple of 16, that every clip is padded or cut to; the"
        " network attends to the padding as in training (released code: 1024). Not given: each clip"
        " at its own length",
        None,
        at_least=1,
        metavar="FRAMES",
    )


@dataclass(kw_only=True)
class Hdf5Option:
    """The sample rate of HDF5 packs that do not tell theirs."""

    hdf5_rate_hz: Optional[int] = setting(
        "sample rate of clips in HDF5 packs that have no attribute sample_rate",
        None,
        at_least=1,
        metavar="HZ",
    )


@dataclass(kw_only=True)
class ExtractionSettings(DeviceOption, Hdf5Option, LayersOption, TargetLengthOption, WeightsOption):
    """How `extract_to_folder` makes features; the fields are the options of `eat extract`."""

    granularity: str = setting(
        "which features: all: CLS and patches (1+L, D); frame: patches (L, D); utterance: CLS (D);"
        " time: patches averaged over frequency (H, D), 6.25 per second",
        "frame",
        choices=GRANULARITIES,
    )
    window_seconds: Optional[float] = setting(
        "longer clips run in windows of this length, in seconds of the recording. Not given:"
        f" {WINDOW_SECONDS} with frames of 10 ms, as many frames at another hop or speed",
        None,
        at_least=0,
    )
    overlap_seconds: Optional[float] = setting(
        f"what neighbouring windows share at least. Not given: {OVERLAP_SECONDS} in the same way",
        None,
        at_least=0,
    )
    fast: bool = setting(
        "compute in bf16: on a CPU with avx512_bf16 in half the time; the cosine similarity of an"
        " EAT-base's tokens with those of float32 is 0.9999",
        False,
    )
    batch_size: int = setting(
        "clips in one pass at most, fewer when they are long", BATCH_SIZE, at_least=1
    )
    workers: Optional[int] = setting(
        "threads that decode, and on the CPU compute. Not given: one per core", None, at_least=1
    )
    format: str = setting(
        "npy: a file per input; npz, safetensors: one file with all", "npy", choices=FORMATS
    )
    shard: Optional[Shard] = setting(
        "I/N: only part I, from 1, of N parts; N such commands, on any machines, fill OUT together"
        " (npz, safetensors: features-I-of-N). auto: what this task of a Slurm job array is",
        None,
        parse=Shard.parse,
        metavar="I/N",
    )


_EXPORTS = {
    "extraction": ("Embedder", "extract_features", "make_pipeline"),
    "folder": ("extract_to_folder",),
    "pipeline": ("Pipeline", "Result"),
    "sharding": ("Shard",),
    "windows": ("TokenLayout", "frame_times"),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
