"""`eat.features.extract_to_folder`: the features of files, folders and manifests, in files."""

import hashlib
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Set

import torch

from eat import __version__
from eat.checkpoint import load_encoder
from eat.files import FilePath
from eat.machine import choose_device, describe_hardware
from eat.nn import Encoder, pack_linears
from eat.work import Failure

from . import OVERLAP_SECONDS, WINDOW_SECONDS, ExtractionSettings
from .extraction import Embedder, make_pipeline
from .recordings import Inputs, Paths, list_inputs
from .storage import TIMES_NAME, FeatureStore, keep_others_out, name_features

_PIPELINE_SETTINGS = ("window_seconds", "overlap_seconds", "batch_size", "hdf5_rate_hz")


@dataclass
class Extraction:
    """What `extract_to_folder` did."""

    num_extracted: int
    num_present: int  # inputs whose features were there already
    seconds: float
    other_files: List[str]  # by folder, those that are no audio
    failures: List[Failure]


def extract_to_folder(
    inputs: Paths, checkpoint: FilePath, out: str, settings: Optional[ExtractionSettings] = None
) -> Extraction:
    """Write the features of recordings of any length, format and rate to the folder `out`.

    The inputs, or one, are audio files, folders, tars and manifests (.tsv). The folder gets one
    .npy file per clip, in the folders that it has below the folder or manifest that names it, or
    one file features.npz or features.safetensors; and settings.json, which says how they were made.
    Features that are there are skipped: an interrupted run continues. With `settings.shard` only
    that part of the clips is extracted, to the same names; one file is then features-2-of-4.npz.

    Raises:
        ValueError: a folder without audio, a bad manifest, two inputs of one name, an impossible
            setting, or features that were made with other settings.
        FileExistsError: the folder has features but no settings.json.
        eat.files.InUseError: another process writes the one file.
    """
    settings = settings or ExtractionSettings()
    found = list_inputs(inputs)
    paths = _name_features(found)
    _check_names(paths, settings)
    if settings.shard is not None:  # after the names, which depend on all inputs
        paths = {name: path for name, path in paths.items() if settings.shard.holds(name)}
    encoder = _load(checkpoint, settings)
    embedder = Embedder(encoder, settings.granularity, settings.layers)
    how = {key: getattr(settings, key) for key in _PIPELINE_SETTINGS}
    pipeline = make_pipeline(encoder, settings.target_length, num_workers=settings.workers, **how)
    made_with = {"checkpoint": os.path.basename(os.path.normpath(checkpoint)), "eat": __version__}
    described = _describe(settings, encoder)
    pack_linears(encoder)
    with keep_others_out(out, settings.format, settings.shard):
        step_seconds = pipeline.log_mel.step_seconds if settings.granularity == "time" else None
        store = FeatureStore(out, settings.format, step_seconds, settings.shard)
        store.claim(paths, described, made_with)
        todo = [name for name in paths if not store.has(name)]

        def write(index: int, tokens: torch.Tensor) -> None:
            store.write(todo[index], tokens.numpy())

        start, files = time.monotonic(), [paths[name] for name in todo]
        failures = pipeline.run_files(files, embedder, write, "extracting")
        store.finish()
    return Extraction(
        num_extracted=len(todo) - len(failures),
        num_present=len(paths) - len(todo),
        seconds=time.monotonic() - start,
        other_files=found.other_files,
        failures=found.failures + failures,
    )


def _load(checkpoint: FilePath, settings: ExtractionSettings) -> Encoder:
    device = choose_device(settings.device)
    dtype = _fast_dtype(device) if settings.fast else torch.float32
    return load_encoder(checkpoint, settings.weights, device, dtype)


def _name_features(inputs: Inputs) -> Dict[str, str]:
    """The paths of the files behind the inputs, by what their features are called below OUT."""
    files = [*zip(inputs.files, inputs.below, strict=True)]
    places: Dict[str, Set[str]] = defaultdict(set)
    for file, below in files:
        places[name_features(below)].add(os.path.abspath(file))
    paths: Dict[str, str] = {}
    for file, below in files:
        # x.wav beside x.flac: both keep their extensions.
        name = name_features(below)
        name = name if len(places[name]) == 1 else os.path.normpath(below)
        other = paths.setdefault(name, file)
        if os.path.abspath(other) != os.path.abspath(file):
            raise ValueError(
                f"found {other} and {file}, whose features would both be called {name!r}:"
                " extract them to different folders"
            )
    return paths


def _check_names(names: Dict[str, str], settings: ExtractionSettings) -> None:
    """Raise a ValueError for a name that an .npz or .safetensors file cannot hold."""
    if settings.format == "npy":
        return
    if TIMES_NAME in names and settings.granularity == "time":
        raise ValueError(
            f"found a file called {TIMES_NAME!r}, as the array of times is: rename it, or take"
            " --format npy"
        )
    for name in names:
        if name != os.fsencode(name).decode(errors="replace"):
            raise ValueError(f"found the name {name!r}, expected UTF-8: take --format npy")


def _fast_dtype(device: str) -> torch.dtype:
    """bfloat16; a ValueError if the device does not multiply it in hardware."""
    hardware = describe_hardware()
    if not hardware.multiplies_bf16(device):
        found = hardware.processor if device == "cpu" else hardware.gpus[0].name
        raise ValueError(f"fast: found {found}, expected a {device} with hardware for bf16")
    return torch.bfloat16


def _describe(settings: ExtractionSettings, encoder: Encoder) -> Dict[str, Any]:
    """All that features depend on."""
    keys = ("granularity", "layers", "target_length", "format")
    log_mel = encoder.log_mel
    windows = {"window_seconds": WINDOW_SECONDS, "overlap_seconds": OVERLAP_SECONDS}
    windows |= {key: own for key in windows if (own := getattr(settings, key)) is not None}
    weights = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        weights.update(name.encode())
        weights.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    # Files of 4 and of 5 parts would hold some clips twice.
    is_parted = settings.shard is not None and settings.format != "npy"
    return {
        **{key: getattr(settings, key) for key in keys},
        **windows,
        "dtype": str(encoder.cls_token.dtype).removeprefix("torch."),
        **{"mean": log_mel.mean, "std": log_mel.std, **log_mel.other_range()},
        "weights_sha256": weights.hexdigest(),
        **({"shards": settings.shard.count} if is_parted else {}),
    }
