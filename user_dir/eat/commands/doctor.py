"""`eat doctor`: what is installed and what of it works."""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from types import SimpleNamespace
from typing import ClassVar, Dict, List, NamedTuple, Sequence, Tuple

from eat import __version__, paths
from eat.machine import describe_hardware
from eat.work import show_progress

from .options import option

TIMEOUT_SECONDS = 300


class Part(NamedTuple):
    """Something that EAT can use."""

    name: str
    used_for: str
    how: str = "look up"  # or "import", for what may crash; or "try", for an ability


class Finding(NamedTuple):
    """What became of a part: "works" or "broken" if it was tried, else "found" or "absent"."""

    name: str
    used_for: str
    state: str
    details: List[str]


PARTS = (
    Part("torch", "everything", "import"),
    Part("numpy", "everything"),
    Part("soundfile", "reading audio", "import"),
    Part("soxr", "resampling audio", "import"),
    Part("safetensors", "checkpoints"),
    Part("fairseq", "training", "import"),
    Part("sklearn", "probes and metrics of fine-tuning"),
    Part("tensorboard", "training curves in TensorBoard"),
    Part("matplotlib", "figures"),
    Part("jinja2", "eat report"),
    Part("transformers", "models exported with `eat convert --to huggingface`", "try"),
    Part("onnx", "eat convert --to onnx"),
    Part("onnxscript", "eat convert --to onnx"),
    Part("onnxruntime", "eat convert --to onnx", "import"),
    Part("h5py", "audio packed in HDF5", "import"),
    Part("huggingface_hub", "checkpoints by name", "import"),
    Part("sed_eval", "eat evaluate with labels in time"),
    Part("sed_scores_eval", "eat evaluate with labels in time"),
    Part("inference", "features and tags", "try"),
    Part("training", "pre-training and fine-tuning", "try"),
)


@dataclass(kw_only=True)
class Options:
    """Say which parts that EAT can use are installed and work, and why others do not.

    The exit status is 0 if features can be extracted, whether or not training works.
    """

    EXAMPLE: ClassVar[str] = "eat doctor --json"

    json: bool = option("print one JSON object, for programs", False)


def run(options: Options) -> int:
    """Print what works; 1 if inference does not."""
    findings, places = examine(PARTS), _find_places()
    status = 0 if ("inference", "works") in {(one.name, one.state) for one in findings} else 1
    if options.json:
        found = {**places, "parts": [one._asdict() for one in findings]}
        print(json.dumps(found, indent=2))
        return status
    for name, place in places.items():
        print(f"{'':<7} {name:<13} {place}")
    for name, used_for, state, details in findings:
        first, *rest = details or [f"not installed; for {used_for}"]
        print(f"{state:<7} {name:<13} {first}" + f"; for {used_for}" * (state == "broken"))
        print("".join(f"{'':<21} {detail}\n" for detail in rest), end="")
    return status


def examine(parts: Sequence[Part]) -> List[Finding]:
    """Look up versions, and try what may not work, several at once."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as executor:
        found = executor.map(partial(_examine, metadata.packages_distributions()), parts)
        return list(show_progress(found, len(parts), "examining", "part"))


def _examine(distributions: Dict[str, List[str]], part: Part) -> Finding:
    name, used_for, how = part
    version = [metadata.version(package) for package in distributions.get(name, [])][:1]
    if how == "look up":
        return Finding(name, used_for, "found" if version else "absent", version)
    trial = f"from {__name__} import try_{name} as t; t()" if how == "try" else f"import {name}"
    state, output = _run(name, trial)
    if state != "works":
        return Finding(name, used_for, state, [output] if output else [])
    details = json.loads(output.splitlines()[-1]) if how == "try" else version
    return Finding(name, used_for, state, details or ["of unknown version"])


def _run(name: str, code: str) -> Tuple[str, str]:
    """The state of a part by what a new Python makes of some code, and what it printed or why."""
    # The same search path, whatever made it what it is.
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": TIMEOUT_SECONDS}
    try:
        process = subprocess.run(command, text=True, errors="replace", **options)
    except subprocess.TimeoutExpired:
        return "broken", f"did not finish within {TIMEOUT_SECONDS} s"
    if process.returncode == 0:
        return "works", process.stdout.strip()
    words = process.stderr.strip().splitlines()[-1:]
    if words == [f"ModuleNotFoundError: No module named {name!r}"]:
        return "absent", ""
    if process.returncode < 0:
        words.insert(0, f"killed by {signal.Signals(-process.returncode).name}")
    elif process.returncode > 1:  # not by an exception
        words.insert(0, f"left with exit status {process.returncode}")
    return "broken", ": ".join(words)


def try_inference() -> None:
    """Extract features of a file that has to be resampled; prints what computed them."""
    import numpy as np
    import soundfile
    import torch

    from eat import Encoder, EncoderConfig, extract_features

    encoder = Encoder(EncoderConfig(embed_dim=48, depth=1, num_heads=4, num_position_rows=8)).eval()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "noise.wav")
        soundfile.write(file, np.random.default_rng(1).standard_normal((8000, 2)) * 0.1, 8000)
        features = extract_features(file, encoder)
    if features.shape != (56, 48) or not torch.isfinite(features).all():
        raise ValueError(f"found features of shape {tuple(features.shape)}, or not finite")
    hardware = describe_hardware()
    bf16, threads = ", ".join(hardware.cpu_bf16) or "no", torch.get_num_threads()
    details = [
        "read, resampled and embedded a second of sound",
        f"audio formats: {' '.join(sorted(soundfile.available_formats()))}",
        f"CPU: {hardware.processor}, {threads} threads, bf16 in hardware: {bf16}",
    ]
    for index, (name, memory_gib, has_bf16) in enumerate(hardware.gpus):
        torch.ones(2, device=f"cuda:{index}").sum().item()
        bf16 = "yes" if has_bf16 else "no"
        details.append(f"CUDA {index}: {name}, {memory_gib:.0f} GiB, bf16 in hardware: {bf16}")
    if not hardware.gpus:
        reason = "torch finds none" if torch.version.cuda else "this torch is built without CUDA"
        details.append(f"no CUDA device: {reason}")
    print(json.dumps(details))


def try_transformers() -> None:
    """Import what loads audio models: it imports torchaudio, which may not fit torch."""
    import transformers
    from transformers import pipeline  # noqa: F401  imported on first use

    print(json.dumps([transformers.__version__]))


def try_training() -> None:
    """Register EAT in fairseq."""
    import fairseq.data.data_utils_fast  # noqa: F401  compiled or not: batches need it
    import fairseq_cli.hydra_train  # noqa: F401
    from fairseq.models import MODEL_REGISTRY
    from fairseq.utils import import_user_module

    import_user_module(SimpleNamespace(user_dir=str(paths.user_dir())))
    if "eat" not in MODEL_REGISTRY:
        raise ValueError(f"{paths.user_dir()}: found no model `eat` registered in fairseq")
    paths.config_dir()
    print('["fairseq takes the tasks, models, criterions and optimizer of EAT"]')


def _find_places() -> Dict[str, str]:
    """Where eat, Python, the configs and the fairseq door are; what is missing says so."""
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
