"""`eat.features.extract_to_folder`: the features of files, folders and manifests, in files."""

import hashlib
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import torch

from eat import __version__
from eat.audio import AudioError
from eat.audio.finding import find_inputs
from eat.audio.packs import spell_out
from eat.checkpoint import load_encoder
from eat.data.manifest import Manifest
from eat.machine import choose_device
from eat.nn import Encoder
from eat.work import Failure

from . import ExtractionSettings
from .extraction import Embedder, make_pipeline
from .storage import TIMES_NAME, FeatureStore, name_features

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
    inputs: Sequence[str], checkpoint: str, out: str, settings: Optional[ExtractionSettings] = None
) -> Extraction:
    """Write the features of recordings of any length, format and rate to the folder `out`.

    The inputs are audio files, folders, tars and manifests (.tsv). The folder gets one .npy file
    per clip, in the folders that it has below the folder or manifest that names it, or one file
    features.npz or features.safetensors; and settings.json, which says how they were made. Features
    that are there are skipped: an interrupted run continues.

    Raises:
        ValueError: a folder without audio, a bad manifest, two inputs of one name, an impossible
            setting, or features that were made with other settings.
        FileExistsError: the folder has features but no settings.json.
    """
    settings = settings or ExtractionSettings()
    done = Extraction()
    paths = _name_inputs(inputs, done)
    if settings.format != "npy":
        _check_names(paths, settings)
    store = FeatureStore(out, settings.format, settings.granularity == "time")
    dtype = getattr(torch, settings.dtype)
    encoder = load_encoder(checkpoint, settings.weights, choose_device(settings.device), dtype)
    embedder = Embedder(encoder, settings.granularity, settings.layers)
    options = {key: getattr(settings, key) for key in _PIPELINE_SETTINGS}
    options["num_workers"] = settings.workers
    pipeline = make_pipeline(encoder, settings.target_length, **options)
    made_with = {"checkpoint": os.path.basename(checkpoint), "eat": __version__}
    store.claim(paths, _describe(settings, encoder), made_with)
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


def _name_inputs(inputs: Sequence[str], done: Extraction) -> Dict[str, str]:
    """The paths of the files behind the inputs, by what their features are called below OUT."""
    files = [(file, below) for path in inputs for file, below in _list_files(path, done)]
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


def _list_files(path: str, done: Extraction) -> Iterator[Tuple[str, str]]:
    """The files behind an input, and their paths below its root, in packs with clips' names."""
    if path.lower().endswith(".tsv") and not os.path.isdir(path):
        manifest = Manifest(path)
        for index in range(len(manifest)):
            file = manifest.path(index)
            try:
                yield file, spell_out(manifest.relative_path(index), manifest.root)
            except (AudioError, OSError) as error:  # a pack that is missing or damaged, one of many
                done.failures.append(Failure.of(file, error))
    else:
        files, notes, left_out = find_inputs([path])
        done.other_files += notes
        done.failures += left_out
        yield from files


def _check_names(names: Dict[str, str], settings: ExtractionSettings) -> None:
    """Raise a ValueError for a name that an .npz or .safetensors file cannot hold."""
    if TIMES_NAME in names and settings.granularity == "time":
        raise ValueError(
            f"found a file called {TIMES_NAME!r}, as the array of times is: rename it, or take"
            " --format npy"
        )
    for name in names:
        if name != os.fsencode(name).decode(errors="replace"):
            raise ValueError(f"found the name {name!r}, expected UTF-8: take --format npy")


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
