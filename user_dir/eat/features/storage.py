"""Where `eat extract` puts features: a folder of .npy files, or an .npz or .safetensors file.

What is there is complete: files are written beside their place and moved to it. Features that go
to one file wait in a folder of .npy files until all are there, so that an interrupted run
continues in either case.
"""

import errno
import json
import os
import re
import shutil
import zipfile
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, BinaryIO, Callable, ContextManager, Dict, Iterable, Mapping, Optional

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from eat.files import find_unfinished, lock_file, replace_file

from . import FORMATS
from .sharding import Shard
from .windows import frame_times

SETTINGS_NAME = "settings.json"
TIMES_NAME = "times"  # what an .npz or .safetensors file calls the times of the steps

_ONE_FILE = re.compile(r"features(-[0-9]+-of-[0-9]+)?\.(npz|safetensors)")

Arrays = Dict[str, Callable[[], np.ndarray]]  # each is read when it is needed


def _one_file(folder: str, format: str, shard: Optional[Shard]) -> Optional[str]:
    """The file that all features go to, if they do."""
    if format not in FORMATS:
        raise ValueError(f"format: found {format!r}, expected one of {FORMATS}")
    part = f"-{shard.number}-of-{shard.count}" if shard else ""
    return None if format == "npy" else os.path.join(folder, f"features{part}.{format}")


def keep_others_out(folder: str, format: str, shard: Optional[Shard]) -> ContextManager[None]:
    """Lock the one file of a `FeatureStore`; many processes may write .npy files.

    An `eat.files.InUseError` names the process that writes it.
    """
    file = _one_file(folder, format, shard)
    if file is None:
        return nullcontext()
    os.makedirs(folder, exist_ok=True)
    return lock_file(f"{file}.lock")


class FeatureStore:
    """Features by name; a name may have folders in it: `birds/wren`.

    The format "npy" is a file per name, "npz" and "safetensors" are one file `features.<format>`,
    of a shard `features-2-of-4.<format>`. With `step_seconds` the one file also holds the times of
    the steps of the longest clip.
    """

    def __init__(
        self,
        folder: str,
        format: str = "npy",
        step_seconds: Optional[float] = None,
        shard: Optional[Shard] = None,
    ) -> None:
        self._note = os.path.join(folder, SETTINGS_NAME)
        self._file = _one_file(folder, format, shard)
        self._folder = folder if self._file is None else f"{self._file}.parts"
        self._step_seconds = step_seconds
        is_there = self._file is not None and os.path.exists(self._file)
        self._stored = _open_arrays(self._file) if is_there else {}

    def claim(
        self, names: Iterable[str], settings: Mapping[str, Any], made_with: Mapping[str, Any]
    ) -> None:
        """Note in the folder how features are made, and remove what killed runs left there.

        A ValueError says that the note of an earlier run has other `settings`; `made_with` may
        differ. A FileExistsError says that there are features of these names but no note.
        """
        is_there = bool(self._stored) or any(map(self.has, names))
        note = json.dumps({"settings": settings, "made_with": made_with}, indent=2)
        if not os.path.exists(self._note):  # asked last: others may start at the same time
            if is_there:
                folder = os.path.dirname(self._note)
                raise FileExistsError(
                    f"{folder}: found features without the {SETTINGS_NAME} that says how they were"
                    " made; expected a new folder, or that of an earlier run"
                )
            _write_whole(self._note, lambda file: file.write(note.encode()))
        _compare(self._note, json.loads(note)["settings"])  # where tuples are lists
        files = [self._note, *filter(None, [self._file]), *map(self._path, names)]
        places = set(map(os.path.abspath, files))
        for folder in set(map(os.path.dirname, places)):
            for path, place in find_unfinished(folder):
                if place in places:
                    with suppress(FileNotFoundError):
                        os.remove(path)

    def has(self, name: str) -> bool:
        return name in self._stored or os.path.exists(self._path(name))

    def write(self, name: str, features: np.ndarray) -> None:
        """Write the features of a name; a ValueError if the name is too long for a file name."""
        try:
            _write_whole(self._path(name), lambda file: np.save(file, features))
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise ValueError(
                "found a name that is too long for its features, expected a shorter one"
            ) from error

    def finish(self) -> None:
        """Move what is waiting to the one file."""
        if self._file is None:
            return
        waiting = _arrays_below(self._folder)
        if waiting or not os.path.exists(self._file):  # an empty shard shows that it has ended
            arrays = {**self._stored, **waiting}
            if self._step_seconds is not None:
                shapes = [load().shape for load in arrays.values()]
                # H of features (..., H, D), and of earlier times (H,).
                num_steps = max((s[-2] if len(s) > 1 else s[0] for s in shapes), default=0)
                arrays[TIMES_NAME] = partial(
                    frame_times(num_steps, self._step_seconds).astype, np.float32
                )
            with replace_file(self._file) as file:
                _WRITERS[os.path.splitext(self._file)[1]](file, arrays)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{name}.npy")


def _write_whole(path: str, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file, also beside other runs: one that starts takes what is unfinished for stale."""
    for attempts_left in reversed(range(10)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with replace_file(path) as file:
                write(file)
            return
        except FileNotFoundError:
            if not attempts_left:
                raise


def name_features(path: str) -> str:
    """What the features of the file at a path below an input are called."""
    return os.path.splitext(os.path.normpath(path))[0]


def open_features(path: str) -> Arrays:
    """All features in a folder that `eat extract` wrote, or in one of its files."""
    if os.path.isfile(path):
        return _open_arrays(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"no such features: {path}, expected a folder of `eat extract`")
    files = [os.path.join(path, name) for name in os.listdir(path) if _ONE_FILE.fullmatch(name)]
    if not files:
        return _arrays_below(path)
    return {name: load for file in sorted(files) for name, load in _open_arrays(file).items()}


def _compare(path: str, settings: Mapping[str, Any]) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            noted = dict(json.load(file)["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a settings file of `eat extract`") from error
    pairs = {key: (settings.get(key), noted.get(key)) for key in sorted({*settings, *noted})}
    differing = [f"{k}={new!r} (there: {old!r})" for k, (new, old) in pairs.items() if new != old]
    if differing:
        raise ValueError(
            f"{path}: found features that were made with other settings,"
            f" {', '.join(differing)}; expected the same settings, or another folder"
        )


def _arrays_below(folder: str) -> Arrays:
    """The arrays of all .npy files in a folder."""
    files = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {
        os.path.relpath(file, folder).removesuffix(".npy"): partial(_read, file, np.load, file, "r")
        for file in sorted(files)
        if file.endswith(".npy")
    }


def _open_arrays(path: str) -> Arrays:
    """All arrays in a file; a ValueError if it is of another kind, or damaged."""
    if os.path.splitext(path)[1] not in _WRITERS:
        raise ValueError(f"{path}: found another kind of file, expected {' or '.join(_WRITERS)}")
    if path.endswith(".npz"):
        archive = _read(path, np.load, path)
        return {name: partial(_read, path, archive.__getitem__, name) for name in archive}
    file = _read(path, safe_open, path, framework="numpy")
    return {name: partial(_read, path, file.get_tensor, name) for name in file.keys()}  # noqa: SIM118


def _read(path: str, load: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """What a function reads from a file; a ValueError if the file is damaged."""
    try:
        return load(*args, **settings)
    except Exception as error:  # a damaged file can raise anything
        if isinstance(error, MemoryError) or getattr(error, "filename", None) is not None:
            raise
        raise ValueError(
            f"{path}: damaged ({error}), expected features of `eat extract`; remove it to extract"
            " them anew"
        ) from error


def _write_npz(file: BinaryIO, arrays: Arrays) -> None:
    """Write one array after the other; `np.savez` takes no array whose name is `file`."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, load in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, load(), allow_pickle=False)


def _write_safetensors(file: BinaryIO, arrays: Arrays) -> None:
    """Write all arrays at once; memory must hold two or three copies of them all."""
    file.write(save({name: np.ascontiguousarray(load()) for name, load in arrays.items()}))


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
