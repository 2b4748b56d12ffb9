"""What a training run writes into its folder, `checkpoint.save_dir`, beside its checkpoints.

    train.log        everything that was logged, the statistics of training included
    training.json    how it was started, each time: command, folder, versions, machine, data
    run.lock         which process writes to the folder, while it does

The first worker writes them (`eat.training.start`, `checkpoint_files`); `eat.training.run` reads
the first two.
"""

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Mapping

from eat import __version__
from eat.files import FilePath, write_file
from eat.machine import describe_hardware

LAST_CHECKPOINT = "checkpoint_last.pt"  # the name is fairseq's
LOCK_NAME = "run.lock"
LOG_NAME = "train.log"
RECORD_NAME = "training.json"

# Packages that can change results; fairseq is published under three names.
_PACKAGES = ("torch", "ve-fairseq", "fairseq-fixed", "fairseq", "hydra-core", "numpy", "soundfile")
_FAIRSEQ_PROGRAMS = ("fairseq-hydra-train", "hydra_train.py")


def read_starts(folder: FilePath) -> List[Dict[str, Any]]:
    """How a run was started, each time; an empty list if its folder holds no record.

    A ValueError says that the record is damaged.
    """
    path = Path(folder, RECORD_NAME)
    if not path.exists():
        return []
    try:
        return [dict(start) for start in json.loads(path.read_text(encoding="utf-8"))["starts"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a record of how a run was started: {error}") from error


def add_start(folder: FilePath, start: Mapping[str, Any]) -> None:
    """Add a start to the record in a run's folder; a ValueError if that is damaged."""
    starts = [*read_starts(folder), start]
    content = json.dumps({"starts": starts}, indent=2)
    write_file(os.path.join(folder, RECORD_NAME), content.encode())


def describe_process() -> Dict[str, Any]:
    """When, how, where and with what this process was started, as plain values."""
    hardware, program = describe_hardware(), os.path.basename(sys.argv[0])
    if program in _FAIRSEQ_PROGRAMS:  # it is called by its name, however it was found
        program = _FAIRSEQ_PROGRAMS[0]
    versions = {"eat": _own_version(), "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": [program, *sys.argv[1:]],
        "folder": os.getcwd(),
        "versions": versions,
        "machine": {
            "platform": platform.platform(),
            "cpu": hardware.processor,
            "cores": hardware.num_cores,
            "gpus": [gpu.name for gpu in hardware.gpus],
        },
    }


def _own_version() -> str:
    """The version, with the commit if this is a checkout."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():  # the folder above may be somebody else's repository
        return __version__
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        commit = subprocess.check_output(git, text=True, timeout=10, **quiet)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} ({commit.strip()})"
