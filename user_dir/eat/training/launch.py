"""Start `fairseq-hydra-train` from Python: settings, checks of what it cannot name, progress.

The plugin is imported when hydra has composed the settings, so it cannot say which of them hydra
does not know. `check_overrides` does, from the recipe's yaml. Nothing is composed here.
"""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Union

from tqdm import tqdm

from eat.paths import config_dir, user_dir
from eat.words import nearest

from .run import parse_log_line

_TAIL_LINES = 25
_PLUGIN = "common.user_dir"
# Keys that hydra and fairseq know without the yaml.
_FOREIGN_SECTIONS = ("hydra", "distributed_training", "run_config")
_LOGGED = re.compile(r"\[[^]]*\]\[[\w.]+\]\[(INFO|WARNING|ERROR)\] - (?P<text>.*)")
# What hydra says of overrides in two lines, and how Python begins an error.
_HYDRAS = re.compile("Error merging override|Could not override|Could not append")
_RAISED = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")
# What asks a training to stop; `stopping` says what each is sent for. Windows lacks some.
STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
_STOPPED = (130, 143)  # by Ctrl-C and other signals, with a line that says so


class TrainingError(Exception):
    """A training that failed; the message ends with the end of its log."""


def training_arguments(config_name: str, settings: Mapping[str, Any]) -> List[str]:
    """The arguments of `fairseq-hydra-train`: a recipe of `config/` and the settings that differ.

    They are valid from any working directory.
    """
    return recipe_arguments(config_name, [override(key, settings[key]) for key in settings])


def recipe_arguments(config: str, overrides: Sequence[str]) -> List[str]:
    """The same for settings that are written as overrides.

    `config` is the name of a recipe of `config/`, or the path of another yaml; `overrides` are
    "section.key=value", as hydra reads them. A ValueError says that there is no such recipe, or
    that an override cannot be meant.
    """
    recipe = find_recipe(config)
    check_overrides(recipe, overrides)
    arguments = ["--config-dir", str(recipe.parent), "--config-name", recipe.stem]
    if not any(text.startswith(f"{_PLUGIN}=") for text in overrides):
        arguments.append(override(_PLUGIN, user_dir()))
    return [*arguments, *overrides]


def find_recipe(config: str) -> Path:
    """The yaml of a recipe; a ValueError if there is none."""
    path = Path(config) if config.endswith(".yaml") else Path(config_dir()) / f"{config}.yaml"
    if not path.is_file():
        folder = path.parent if config.endswith(".yaml") else Path(config_dir())
        names = sorted(one.stem for one in folder.glob("*.yaml"))
        order = " (the recipe comes first, settings behind it)" if "=" in config else ""
        raise ValueError(
            f"{config}: found no such recipe{order}, expected one of {', '.join(names)}"
            f"{nearest(config, names)}"
        )
    return path.resolve()


def check_overrides(recipe: Path, overrides: Iterable[str]) -> None:
    """Check the keys of overrides against a recipe.

    A ValueError for an unknown key, a list that is given as one value, or no folder of the plugin.
    """
    known = _settings(recipe)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals and not text.startswith("~"):
            raise ValueError(f"{text}: found no =, expected section.key=value")
        if key[:1] in ("+", "~") or key.split(".")[0] in _FOREIGN_SECTIONS or "/" in key:
            continue
        if key not in known:
            raise ValueError(f"{key}: found no such setting in {recipe}{nearest(key, known)}")
        if isinstance(known[key], list) and not value.startswith(("[", "'[", "$")):
            raise ValueError(f"{key}: found {value}, expected a list such as [{value}]")
        if key == _PLUGIN and not os.path.isdir(value.strip("'\"")):
            raise ValueError(f"{key}: found {value}, expected the folder user_dir of EAT")


def _settings(recipe: Path) -> Dict[str, Any]:
    """The values of a recipe by their keys with dots; those of sections are there as well."""
    import yaml  # comes with hydra

    try:
        settings = dict(yaml.safe_load(recipe.read_text(encoding="utf-8")) or {})
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{recipe}: no recipe: {' '.join(str(error).split())}") from error
    found = dict(settings)
    for section, values in settings.items():
        if isinstance(values, dict):
            found.update({f"{section}.{key}": value for key, value in values.items()})
    return found


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
    """Run `fairseq-hydra-train`, append its output to the file `log`; a TrainingError if it fails.

    Arguments are those of `training_arguments`. A bar shows the updates, `num_updates` in all.
    """
    with open(log, "a", encoding="utf-8", buffering=1) as file:  # line by line
        status = run(arguments, num_updates, file.write)
    if status != 0:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-_TAIL_LINES:])
        raise TrainingError(f"training failed with status {status}; the end of {log}:\n\n{tail}")


def run_recipe(config: str, overrides: Sequence[str]) -> int:
    """Run `fairseq-hydra-train`; print what it logs for people, progress, and why it failed.

    Takes and raises what `recipe_arguments` does; returns the exit status of the training.
    """
    arguments = recipe_arguments(config, overrides)
    last_lines: deque[str] = deque(maxlen=_TAIL_LINES)

    def show(line: str) -> None:
        last_lines.append(line.rstrip())
        message = _LOGGED.match(line)
        if message is not None and (parse_log_line(line) is None or not sys.stderr.isatty()):
            tqdm.write(message["text"])
        elif line.startswith("stop"):  # `stopping` answers a signal at once, not in the log
            tqdm.write(line.rstrip())

    status = run(arguments, _num_updates(config, overrides), show)
    if status not in (0, *_STOPPED):
        print(find_error(list(last_lines)), file=sys.stderr)
    return status


def run(arguments: List[str], num_updates: int, take: Callable[[str], Any]) -> int:
    """Run `fairseq-hydra-train` with its progress in a bar; returns its exit status.

    Signals are passed on to it, so that it saves before it stops. Arguments are those of
    `recipe_arguments`, `num_updates` all that there will be; `take` gets every line that it prints.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "fairseq_cli.hydra_train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        handlers = {
            number: signal.signal(number, lambda received, _: process.send_signal(received))
            for number in STOP_SIGNALS
        }
        try:
            _follow(process.stdout, num_updates, take)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def find_error(lines: Sequence[str]) -> str:
    """The line that says why a training failed, out of the last ones that it printed."""
    for start, line in reversed(list(enumerate(lines))):
        if line.startswith("error: "):
            return line
        if _HYDRAS.match(line):
            return f"error: {' '.join(lines[start : start + 2])}"
    raised = [line for line in lines if _RAISED.match(line)]
    return f"error: {raised[-1] if raised else ' '.join(lines[-1:])}"


def _num_updates(config: str, overrides: Iterable[str]) -> int:
    key = "optimization.max_update"
    given = [text.partition("=")[2] for text in overrides if text.startswith(f"{key}=")]
    value = given[-1] if given else _settings(find_recipe(config)).get(key)
    return int(value) if str(value).isdecimal() else 0


def _follow(output: Iterable[str], num_updates: int, take: Callable[[str], Any]) -> None:
    """Hand on fairseq's output and show its progress; no bar without a terminal."""
    total = num_updates or None
    with tqdm(total=total, desc="starting", unit="update", disable=None) as bar:
        for line in output:
            take(line)
            stats = parse_log_line(line)
            if stats is not None and stats.kind == "train_inner":
                loss = stats.values.get("frame_loss", stats.values["loss"])
                bar.set_description(f"loss {loss:.2f}")
                done = int(stats.values["num_updates"])
                if bar.n == 0:
                    bar.initial = done  # of a run that goes on; the rate is that of this start
                bar.update(done - bar.n)
