"""`eat doctor`: what is installed, and what of it works.

Every part is tried in a Python of its own, so that one that crashes, hangs or prints takes
nothing with it. What counts is whether a part works; versions are only reported.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from eat import __version__, paths
from eat.work import show_progress

HELP = "what is installed and what of it works"

DESCRIPTION = """\
Try every part that EAT can use and say which work, and why others do not. The exit status is 0 if
features can be extracted, whether or not training works.
"""

TIMEOUT_SECONDS = 300

# In front of the result of a trial; whatever else it prints is not ours.
_MARK = "eat doctor found: "


class Part(NamedTuple):
    """Something that may be installed, or that should work."""

    name: str
    used_for: str


class Finding(NamedTuple):
    """What became of trying a part."""

    name: str
    used_for: str
    state: str  # "works", "broken" or "absent"
    details: List[str]


PACKAGES = (
    Part("torch", "everything"),
    Part("numpy", "everything"),
    Part("soundfile", "reading audio"),
    Part("soxr", "resampling audio"),
    Part("safetensors", "checkpoints"),
    Part("fairseq", "training"),
    Part("hydra", "training"),
    Part("omegaconf", "training"),
    Part("sklearn", "metrics of fine-tuning"),
    Part("tensorboard", "training curves in TensorBoard"),
    Part("transformers", "models exported with `eat convert --to huggingface`"),
    Part("onnx", "eat convert --to onnx"),
    Part("onnxscript", "eat convert --to onnx"),
    Part("onnxruntime", "eat convert --to onnx"),
    Part("h5py", "audio packed in HDF5"),
)
ABILITIES = (
    Part("inference", "features and tags"),
    Part("training", "pre-training and fine-tuning"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat doctor`."""
    parser.description = DESCRIPTION
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def run(args: argparse.Namespace) -> int:
    """Print what works; 1 if inference does not."""
    findings = examine([*PACKAGES, *ABILITIES])
    print(as_json(findings) if args.json else as_text(findings))
    return 0 if _works("inference", findings) else 1


def examine(parts: Sequence[Part]) -> List[Finding]:
    """Try parts, several at once."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as executor:
        return list(show_progress(executor.map(_examine, parts), len(parts), "trying", "part"))


def _examine(part: Part) -> Finding:
    if part not in ABILITIES and not _is_installed(part.name):
        return Finding(*part, "absent", [])
    # The same search path, whatever made it what it is.
    code = (
        f"import sys; sys.path[:] = {sys.path!r};"
        f" from {__name__} import try_part; try_part({part.name!r})"
    )
    try:
        process = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Finding(*part, "broken", [f"did not finish within {TIMEOUT_SECONDS} s"])
    for line in process.stdout.splitlines():
        if line.startswith(_MARK):
            return Finding(*part, *json.loads(line.removeprefix(_MARK)))
    return Finding(*part, "broken", [_last_words(process)])


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # something put an incomplete module in its place
        return True


def _last_words(process: subprocess.CompletedProcess) -> str:
    if process.returncode < 0:
        end = f"killed by {signal.Signals(-process.returncode).name}"
    else:
        end = f"left with exit status {process.returncode}"
    lines = process.stderr.strip().splitlines()
    return f"{end}: {lines[-1]}" if lines else end


def try_part(name: str) -> None:
    """Try a part in this process and print what came of it."""
    try:
        state, details = "works", _TRIALS.get(name, lambda: _try_package(name))()
    except Exception as error:
        state, details = "broken", [f"{type(error).__name__}: {error}"]
    print(f"\n{_MARK}{json.dumps([state, details])}", flush=True)


def _try_package(name: str) -> List[str]:
    package = importlib.import_module(name)
    version = getattr(package, "__version__", "of unknown version")
    return [f"{version}, {os.path.dirname(package.__file__ or '')}"]


def _try_torch() -> List[str]:
    import torch

    details = _try_package("torch")
    details.append(
        f"CPU: {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads,"
        f" bf16 in hardware: {_cpu_bf16()}"
    )
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        torch.ones(2, device=f"cuda:{index}").sum().item()
        details.append(
            f"CUDA {index}: {device.name}, {device.total_memory / 2**30:.0f} GiB, bf16 in hardware:"
            f" {'yes' if device.major >= 8 else 'no'}"
        )
    if not torch.cuda.is_available():
        has_cuda = torch.version.cuda is not None
        reason = "torch finds none" if has_cuda else "this torch is built without CUDA"
        details.append(f"no CUDA device: {reason}")
    return details


def _cpu_bf16() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            features = set(file.read().split())
    except OSError:
        return "unknown"
    return ", ".join(sorted(features & {"amx_bf16", "avx512_bf16"})) or "no"


def _try_soundfile() -> List[str]:
    import soundfile

    return [
        *_try_package("soundfile"),
        f"libsndfile {soundfile.__libsndfile_version__}:"
        f" {' '.join(sorted(soundfile.available_formats()))}",
    ]


def _try_soxr() -> List[str]:
    import numpy as np
    import soxr

    found = len(soxr.resample(np.zeros(8000, np.float32), 8000, 16000))
    if found != 16000:
        raise ValueError(f"found {found} samples after resampling, expected 16000")
    return _try_package("soxr")


def _try_fairseq() -> List[str]:
    details = _try_package("fairseq")
    # Built with fairseq or not: batches cannot be made without.
    importlib.import_module("fairseq.data.data_utils_fast")
    importlib.import_module("fairseq_cli.hydra_train")
    return details


def _try_inference() -> List[str]:
    import numpy as np
    import soundfile
    import torch

    from eat import extract_features
    from eat.nn import Encoder, EncoderConfig

    encoder = Encoder(EncoderConfig(embed_dim=48, depth=1, num_heads=4, num_position_rows=8)).eval()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "noise.wav")
        noise = np.random.default_rng(1).standard_normal((8000, 2)) * 0.1
        soundfile.write(file, noise, 8000)
        features = extract_features(file, encoder)
    if features.shape != (56, 48) or not torch.isfinite(features).all():
        raise ValueError(f"found features of shape {tuple(features.shape)}, or not finite")
    return ["read, resampled and embedded a second of sound"]


def _try_training() -> List[str]:
    from fairseq.models import MODEL_REGISTRY
    from fairseq.utils import import_user_module

    import_user_module(argparse.Namespace(user_dir=str(paths.user_dir())))
    if "eat" not in MODEL_REGISTRY:
        raise ValueError(f"{paths.user_dir()}: found no model `eat` registered in fairseq")
    paths.config_dir()
    return ["fairseq takes the tasks, models, criterions and optimizer of EAT"]


_TRIALS: Dict[str, Callable[[], List[str]]] = {
    "torch": _try_torch,
    "soundfile": _try_soundfile,
    "soxr": _try_soxr,
    "fairseq": _try_fairseq,
    "inference": _try_inference,
    "training": _try_training,
}


def _places() -> Dict[str, str]:
    """Where things are; what is missing says so."""
    places = {
        "eat": f"{__version__}, {os.path.dirname(os.path.abspath(paths.__file__))}",
        "python": f"{platform.python_version()}, {sys.executable}, {platform.platform()}",
    }
    for name, find in (("config", paths.config_dir), ("user_dir", paths.user_dir)):
        try:
            places[name] = str(find())
        except FileNotFoundError as error:
            places[name] = str(error)
    return places


def _works(name: str, findings: Sequence[Finding]) -> bool:
    return any(finding.name == name and finding.state == "works" for finding in findings)


def as_text(findings: Sequence[Finding]) -> str:
    """A line per part, and what more is to say below it."""
    lines = [f"{'':<7} {name:<13} {place}" for name, place in _places().items()]
    for finding in findings:
        first, *rest = finding.details or [f"not installed; for {finding.used_for}"]
        if finding.state == "broken":
            first += f"; for {finding.used_for}"
        lines.append(f"{finding.state:<7} {finding.name:<13} {first}")
        lines.extend(f"{'':<7} {'':<13} {detail}" for detail in rest)
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """One object: where things are, and the parts."""
    found: Dict[str, Any] = {**_places(), "parts": [finding._asdict() for finding in findings]}
    return json.dumps(found, indent=2)
