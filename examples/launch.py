"""Start `fairseq-hydra-train` from a script, with settings, a log file and a progress bar."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterable, List, Mapping, TextIO, Union

from tqdm import tqdm

from eat.paths import config_dir, user_dir
from eat.training.run import parse_log_line

_TAIL_LINES = 25


class TrainingError(Exception):
    """A training that failed; the message ends with the end of its log."""


def training_arguments(config_name: str, settings: Mapping[str, Any]) -> List[str]:
    """The arguments of `fairseq-hydra-train`: a recipe of `config/` and the settings that differ.

    They are valid from any working directory.
    """
    overrides = [override(key, value) for key, value in settings.items()]
    user_dir_override = override("common.user_dir", user_dir())
    recipe = ["--config-dir", str(config_dir()), "--config-name", config_name]
    return [*recipe, user_dir_override, *overrides]


def override(key: str, value: Any) -> str:
    """Write a hydra override of a text, a truth value, a number, a list of numbers, or None.

    Text is quoted if it has to be, e.g. a path with spaces, commas or brackets.
    """
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    text = str(value)
    if isinstance(value, (int, float, list)) or re.fullmatch(r"/[\w/.-]*", text, re.ASCII):
        return f"{key}={text}"
    # In hydra's grammar a backslash is special only before a quote, where two stand for one.
    text = re.sub(r"(\\*)('|$)", r"\1\1\2", text).replace("'", r"\'")
    return f"{key}='{text}'"


def train(arguments: List[str], log: Union[str, "os.PathLike[str]"], num_updates: int) -> None:
    """Run `fairseq-hydra-train`, append its output to `log` and show the updates in a bar.

    Args:
        arguments: from `training_arguments`.
        log: a file.
        num_updates: how many the whole training has.

    Raises:
        TrainingError: it failed.
    """
    with open(log, "a", encoding="utf-8") as log_file, subprocess.Popen(
        [sys.executable, "-m", "fairseq_cli.hydra_train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:  # fmt: skip
        try:
            _follow(process.stdout, log_file, num_updates)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-_TAIL_LINES:])
        raise TrainingError(
            f"training failed with status {process.returncode}; the end of {log}:\n\n{tail}"
        )


def _follow(output: Iterable[str], log: TextIO, num_updates: int) -> None:
    """Copy fairseq's output to a file and show its progress; no bar without a terminal."""
    with tqdm(total=num_updates, desc="starting", unit="update", disable=None) as bar:
        for line in output:
            log.write(line)
            log.flush()
            stats = parse_log_line(line)
            if stats is not None and stats.kind == "train_inner":
                loss = stats.values.get("frame_loss", stats.values["loss"])
                bar.set_description(f"loss {loss:.2f}")
                bar.update(int(stats.values["num_updates"]) - bar.n)
