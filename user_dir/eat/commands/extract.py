"""`eat extract`: the features of recordings, in files."""

import argparse
import errno
import hashlib
import os
import sys
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from eat import __version__
from eat.audio.finding import EXTENSIONS, Scan, find_audio
from eat.data.manifest import Manifest
from eat.features.storage import name_features
from eat.machine import choose_device
from eat.work import show_progress

from .arguments import add_encoder_arguments, add_hdf5_argument, number, whole_number
from .devices import add_device_argument

if TYPE_CHECKING:
    from torch import Tensor

    from eat.features import Result
    from eat.features.storage import NpyFolder, OneFile
    from eat.nn import Encoder

HELP = "features of audio files, folders and manifests, as .npy, .npz or .safetensors"

DESCRIPTION = """\
Write the features of recordings of any length, format and rate. OUT gets one .npy file per input,
in the folders that the input has below the folder or manifest that names it; or one file
features.npz or features.safetensors with all of them. An interrupted run continues when it is
started again: what is there is skipped. OUT/settings.json says how the features were made; other
settings need another folder.
"""

# Spelled out, as importing them takes seconds; a test compares.
GRANULARITIES = ("all", "frame", "utterance", "time")
WINDOW_SECONDS = 40.96
OVERLAP_SECONDS = 5.12
BATCH_SIZE = 32

DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("npy", "npz", "safetensors")


class Item(NamedTuple):
    """An input file, and what its features are called."""

    path: str
    name: str  # as a path below OUT, without ending


class Failure(NamedTuple):
    """An input without features, and why."""

    path: str
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat extract`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="audio file, folder, or manifest (.tsv)"
    )
    parser.add_argument("--checkpoint", required=True, help="any EAT checkpoint")
    parser.add_argument("--out", required=True, help="folder to write to")
    _add_feature_arguments(parser)
    _add_run_arguments(parser)


def _add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--granularity",
        choices=GRANULARITIES,
        default="frame",
        help="all: CLS and patches (1+L, D); frame: patches (L, D); utterance: CLS (D); time:"
        " patches averaged over frequency (H, D), 6.25 per second (default: %(default)s)",
    )
    parser.add_argument(
        "--layers",
        type=layers,
        default="last",
        help="last; all or numbers of blocks from 1 such as 3,6,9, stacked in front; mean of all"
        " (default: %(default)s)",
    )
    add_encoder_arguments(parser)
    parser.add_argument(
        "--window-seconds",
        type=number(0, float("inf")),
        default=WINDOW_SECONDS,
        help="longer clips run in windows of this length (default: %(default)s)",
    )
    parser.add_argument(
        "--overlap-seconds",
        type=number(0, float("inf")),
        default=OVERLAP_SECONDS,
        help="what neighbouring windows share (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="to compute in (default: %(default)s)"
    )


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_device_argument(parser)
    add_hdf5_argument(parser)
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=BATCH_SIZE,
        help="clips in one pass at most, fewer when they are long (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=os.cpu_count() or 1,
        help="threads that decode, and on the CPU compute (default: one per core, %(default)s)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="npy",
        help="npy: a file per input; npz, safetensors: one file (default: %(default)s)",
    )


def layers(text: str) -> Union[str, List[int]]:
    """The type of `--layers`."""
    if text in ("last", "all", "mean"):
        return text
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected last, all, mean or numbers of blocks such as 3,6,9"
        )
    return [int(number) for number in numbers]


def run(args: argparse.Namespace) -> int:
    """Extract features; 1 if inputs had to be left out."""
    import torch

    from eat.checkpoint import load_encoder
    from eat.features import Embedder, make_pipeline, storage

    items, failures = list_items(args.inputs)
    names = [item.name for item in items]
    store = open_store(args, names)
    device, dtype = choose_device(args.device), getattr(torch, args.dtype)
    encoder = load_encoder(args.checkpoint, args.weights, device, dtype)
    embedder = Embedder(encoder, args.granularity, args.layers)
    pipeline = make_pipeline(
        encoder,
        target_length=args.target_length,
        window_seconds=args.window_seconds,
        overlap_seconds=args.overlap_seconds,
        batch_size=args.batch_size,
        num_workers=args.workers,
        hdf5_rate_hz=args.hdf5_rate_hz,
    )
    made_with = {"checkpoint": os.path.basename(args.checkpoint), "eat": __version__}
    storage.claim_folder(args.out, settings_of(args, encoder), made_with, store.has_any(names))
    storage.remove_unfinished([*store.files(names), os.path.join(args.out, storage.SETTINGS_NAME)])
    todo = [item for item in items if not store.has(item.name)]
    start = time.monotonic()
    failed = write_features(pipeline.run([item.path for item in todo], embedder), todo, store)
    store.finish()
    print(
        f"{args.out}: {len(todo) - len(failed)} clips extracted"
        f" ({(len(todo) - len(failed)) / (time.monotonic() - start):.1f} per second),"
        f" {len(items) - len(todo)} were there already, {len(failures) + len(failed)} failed"
    )
    for path, reason in sorted(failures + failed):
        print(f"failed {path}: {reason}", file=sys.stderr)
    return 1 if failures or failed else 0


def list_items(inputs: Sequence[str]) -> Tuple[List[Item], List[Failure]]:
    """The files behind the inputs and the names of their features, and what cannot be read.

    Raises:
        ValueError: a folder without audio, a bad manifest, or two files with the same name.
    """
    paths: Dict[str, str] = {}
    failures: List[Failure] = []
    for path, name in _files(inputs, failures):
        other = paths.setdefault(name, path)
        if other != path and os.path.abspath(other) != os.path.abspath(path):
            raise ValueError(
                f"found {other} and {path}, whose features would both be called {name!r}, expected"
                " names that differ: extract them to different folders"
            )
    return [Item(path, name) for name, path in paths.items()], failures


def _files(inputs: Sequence[str], failures: List[Failure]) -> Iterator[Tuple[str, str]]:
    """Path and name of every file; what cannot be read is added to `failures`."""
    for path in inputs:
        if os.path.isdir(path):
            scan = find_audio(path)
            _tell_others(path, scan)
            failures.extend(
                Failure(os.path.join(path, left_out.path), left_out.reason)
                for left_out in scan.left_out
            )
            yield from ((os.path.join(path, below), name_features(below)) for below in scan.paths)
        elif path.lower().endswith(".tsv"):
            yield from _files_of(Manifest(path), failures)
        else:
            yield path, name_features(os.path.basename(path))


def _files_of(manifest: Manifest, failures: List[Failure]) -> Iterator[Tuple[str, str]]:
    from eat.audio import AudioError
    from eat.audio.packs import spell_out

    for index in range(len(manifest)):
        path = manifest.path(index)
        try:
            name = spell_out(manifest.relative_path(index), manifest.root)
        except (AudioError, OSError) as error:  # a pack that is missing or damaged, one of many
            failures.append(Failure(path, str(error)))
        else:
            yield path, name_features(name)


def _tell_others(folder: str, scan: Scan) -> None:
    if not scan.paths:
        raise ValueError(
            f"{folder}: found no audio file, expected names ending in"
            f" {' '.join(f'.{extension}' for extension in EXTENSIONS)}"
        )
    others = [f"{n} {ending or 'without'}" for ending, n in scan.other_extensions.most_common(5)]
    if others:
        print(f"{folder}: not looked at, by their endings: {', '.join(others)}", file=sys.stderr)


def open_store(args: argparse.Namespace, names: Sequence[str]) -> "Union[NpyFolder, OneFile]":
    """Where the features go.

    Raises:
        ValueError: a name that the one file cannot hold.
    """
    from eat.features.storage import TIMES_NAME, NpyFolder, OneFile

    if args.format == "npy":
        return NpyFolder(args.out)
    with_times = args.granularity == "time"
    for name in names:
        if name == TIMES_NAME and with_times:
            raise ValueError(
                f"found a file called {name!r}, as the array of times is: rename it, or take"
                " --format npy"
            )
        if name != os.fsencode(name).decode(errors="replace"):
            raise ValueError(f"found the name {name!r}, expected UTF-8: take --format npy")
    return OneFile(os.path.join(args.out, f"features.{args.format}"), with_times)


def settings_of(args: argparse.Namespace, encoder: "Encoder") -> Dict[str, Any]:
    """All that features depend on."""
    import torch

    keys = ("granularity", "layers", "target_length", "window_seconds", "overlap_seconds", "dtype")
    weights = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        weights.update(name.encode())
        weights.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    log_mel = {"mean": encoder.log_mel.mean, "std": encoder.log_mel.std}
    settings = {key: getattr(args, key) for key in (*keys, "format")}
    return {**settings, **log_mel, "weights_sha256": weights.hexdigest()}


def write_features(
    results: "Iterable[Result]", items: Sequence[Item], store: "Union[NpyFolder, OneFile]"
) -> List[Failure]:
    """Write the features of files as they come; returns the files without any, and why."""
    failures = []
    for index, tokens, error in show_progress(
        results, len(items), "extracting", failed=lambda result: result.error is not None
    ):
        path, name = items[index]
        if error is None:
            error = _write(store, name, tokens)
        if error is not None:
            failures.append(Failure(path, str(error).removeprefix(f"{path}: ")))
    return failures


def _write(store: "Union[NpyFolder, OneFile]", name: str, tokens: "Tensor") -> Optional[ValueError]:
    """Write the features of a file; what is wrong if its name leaves no room for their ending."""
    try:
        store.write(name, tokens.numpy())
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return ValueError("found a name that is too long for its features, expected a shorter one")
    return None
