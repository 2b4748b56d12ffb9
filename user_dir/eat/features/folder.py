"""`eat.features.extract_to_folder`: the features of files, folders and manifests, in files."""

import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import torch

from eat import __version__
from eat.audio import AudioError
from eat.audio.finding import count_extensions, find_audio
from eat.audio.packs import spell_out
from eat.checkpoint import load_encoder
from eat.data.manifest import Manifest
from eat.machine import choose_device
from eat.nn import Encoder
from eat.work import Failure

from . import ExtractionSettings
from .extraction import Embedder, make_pipeline
from .storage import (
    SETTINGS_NAME,
    TIMES_NAME,
    FeatureStore,
    claim_folder,
    name_features,
    remove_unfinished,
)

_PIPELINE_SETTINGS = ("window_seconds", "overlap_seconds", "batch_size", "hdf5_rate_hz")


@dataclass
class Extraction:
    """What `extract_to_folder` did."""

    num_extracted: int = 0
    num_present: int = 0  # inputs whose features were there already
    seconds: float = 0.0
    other_files: List[str] = field(default_factory=list)  # by folder, those that are no audio
    failures: List[Failure] = field(default_factory=list)


def extract_to_folder(
    inputs: Sequence[str],
    checkpoint: str,
    out: str,
    settings: Optional[ExtractionSettings] = None,
) -> Extraction:
    """Write the features of recordings of any length, format and rate to a folder.

    It gets one .npy file per input, in the folders that the input has below the folder or manifest
    that names it, or one file features.npz or features.safetensors; and settings.json, which says
    how they were made. Features that are there are skipped: an interrupted run continues.

    Args:
        inputs: audio files, folders and manifests (.tsv).
        checkpoint: any EAT checkpoint.
        out: the folder.
        settings: how to make the features; None: by default.

    Raises:
        ValueError: a folder without audio, a bad manifest, two inputs of one name, an impossible
            setting, or features that were made with other settings.
        FileExistsError: the folder has features but no settings.json.
    """
    settings = settings or ExtractionSettings()
    done = Extraction()
    paths = _list_files(inputs, done)
    store = _open_store(out, settings, paths)
    dtype = getattr(torch, settings.dtype)
    encoder = load_encoder(checkpoint, settings.weights, choose_device(settings.device), dtype)
    embedder = Embedder(encoder, settings.granularity, settings.layers)
    options = {key: getattr(settings, key) for key in _PIPELINE_SETTINGS}
    pipeline = make_pipeline(
        encoder, settings.target_length, num_workers=settings.workers, **options
    )
    made_with = {"checkpoint": os.path.basename(checkpoint), "eat": __version__}
    claim_folder(out, _describe(settings, encoder), made_with, store.has_any(paths))
    remove_unfinished([*store.files(paths), os.path.join(out, SETTINGS_NAME)])
    todo = [name for name in paths if not store.has(name)]

    def write(index: int, tokens: torch.Tensor) -> None:
        store.write(todo[index], tokens.numpy())

    start = time.monotonic()
    failures = pipeline.run_files([paths[name] for name in todo], embedder, write, "extracting")
    store.finish()
    done.seconds = time.monotonic() - start
    done.num_extracted = len(todo) - len(failures)
    done.num_present = len(paths) - len(todo)
    done.failures += failures
    return done


def _list_files(inputs: Sequence[str], done: Extraction) -> Dict[str, str]:
    """The paths of the files behind the inputs, by what their features are called below OUT."""
    paths: Dict[str, str] = {}
    for path in inputs:
        if os.path.isdir(path):
            files = _files_below(path, done)
        elif path.lower().endswith(".tsv"):
            files = _files_of(Manifest(path), done)
        else:
            files = iter([(path, os.path.basename(path))])
        for file, below in files:
            name = name_features(below)
            other = paths.setdefault(name, file)
            if os.path.abspath(other) != os.path.abspath(file):
                raise ValueError(
                    f"found {other} and {file}, whose features would both be called {name!r},"
                    " expected names that differ: extract them to different folders"
                )
    return paths


def _files_below(folder: str, done: Extraction) -> Iterator[Tuple[str, str]]:
    """The audio files of a folder, and their paths below it."""
    scan = find_audio(folder, required=True)
    if scan.other_extensions:
        done.other_files.append(f"{folder}: left out {count_extensions(scan.other_extensions)}")
    done.failures.extend(Failure(os.path.join(folder, p), why) for p, why in scan.left_out)
    return ((os.path.join(folder, below), below) for below in scan.paths)


def _files_of(manifest: Manifest, done: Extraction) -> Iterator[Tuple[str, str]]:
    """The clips of a manifest, and their paths below its root, in packs with the clips' names."""
    for index in range(len(manifest)):
        path = manifest.path(index)
        try:
            yield path, spell_out(manifest.relative_path(index), manifest.root)
        except (AudioError, OSError) as error:  # a pack that is missing or damaged, one of many
            done.failures.append(Failure.of(path, error))


def _open_store(out: str, settings: ExtractionSettings, names: Iterable[str]) -> FeatureStore:
    """Where the features go; a ValueError for a name that the one file cannot hold."""
    with_times = settings.granularity == "time"
    for name in names if settings.format != "npy" else ():
        if name == TIMES_NAME and with_times:
            raise ValueError(
                f"found a file called {name!r}, as the array of times is: rename it, or take"
                " --format npy"
            )
        if name != os.fsencode(name).decode(errors="replace"):
            raise ValueError(f"found the name {name!r}, expected UTF-8: take --format npy")
    return FeatureStore(out, settings.format, with_times)


def _describe(settings: ExtractionSettings, encoder: Encoder) -> Dict[str, Any]:
    """All that features depend on."""
    keys = ("granularity", "layers", "target_length", "window_seconds", "overlap_seconds", "dtype")
    weights = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        weights.update(name.encode())
        weights.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {
        **{key: getattr(settings, key) for key in (*keys, "format")},
        **{"mean": encoder.log_mel.mean, "std": encoder.log_mel.std},
        "weights_sha256": weights.hexdigest(),
    }
