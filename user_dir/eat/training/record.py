"""What a training run leaves in its folder, `checkpoint.save_dir`, beside its checkpoints.

    train.log        what was logged, the statistics of training among it
    training.json    how it was started, each time: command, place, versions, machine, data

The first worker writes both (`eat.tasks.recording`); `eat plot curves` and `eat report` read them.
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
from typing import Any, Dict, List, Mapping, Union

from eat import __version__
from eat.files import replace_file

RunPath = Union[str, "os.PathLike[str]"]

LOG_NAME = "train.log"
RECORD_NAME = "training.json"

# What results may depend on; fairseq is published under three names.
_PACKAGES = ("torch", "ve-fairseq", "fairseq-fixed", "fairseq", "hydra-core", "numpy", "soundfile")
_FAIRSEQ_PROGRAMS = ("fairseq-hydra-train", "hydra_train.py")


def find_log(run: RunPath) -> str:
    """The file with a run's statistics.

    Args:
        run: the run's folder, or the file itself.

    Raises:
        FileNotFoundError: there is no such folder or file, or the folder holds no log.
    """
    run = os.fspath(run)
    if not os.path.isdir(run):
        if not os.path.exists(run):
            raise FileNotFoundError(f"no such run: {run}, expected a folder or a log file")
        return run
    path = os.path.join(run, LOG_NAME)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{run}: found no {LOG_NAME}, expected the checkpoint.save_dir of a training run, or a"
            " file with what it printed"
        )
    return path


def read_starts(folder: RunPath) -> List[Dict[str, Any]]:
    """How a run was started, each time; nothing if its folder holds no record.

    Raises:
        ValueError: the record is damaged.
    """
    path = os.path.join(folder, RECORD_NAME)
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return list(json.load(file)["starts"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a record of how a run was started: {error}") from error


def add_start(folder: RunPath, start: Mapping[str, Any]) -> None:
    """Add a start to the record in a run's folder.

    Raises:
        ValueError: there is a record, and it is damaged.
        OSError: the file cannot be written.
    """
    starts = [*read_starts(folder), start]
    with replace_file(os.path.join(folder, RECORD_NAME)) as file:
        file.write(json.dumps({"starts": starts}, indent=2).encode())


def describe_process() -> Dict[str, Any]:
    """When, how, where and with what this process was started, as plain values."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command_words(),
        "folder": os.getcwd(),
        "versions": {"eat": _own_version(), "python": platform.python_version(), **_versions()},
        "machine": _describe_machine(),
    }


def command_words() -> List[str]:
    """The command as one would type it again."""
    program, *arguments = sys.argv
    name = os.path.basename(program)
    if name in _FAIRSEQ_PROGRAMS:  # however it was found
        return [_FAIRSEQ_PROGRAMS[0], *arguments]
    return [name, *arguments]


def _versions() -> Dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _own_version() -> str:
    """The version, with the commit if this is a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():  # the folder above may be somebody else's repository
        return __version__
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(
            describe, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    commit = found.stdout.strip()
    return f"{__version__} ({commit})" if found.returncode == 0 and commit else __version__


def _describe_machine() -> Dict[str, Any]:
    import torch

    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _cpu_name() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
