"""Where `eat extract` puts features: a folder of .npy files, or one .npz or .safetensors file.

What is there is complete: files are written beside their place and moved to it. Features that go
to one file wait in a folder of .npy files until all are there, so that an interrupted run
continues in either case.
"""

import errno
import json
import os
import shutil
import zipfile
from functools import partial
from typing import Any, BinaryIO, Callable, Dict, Iterable, List, Mapping

import numpy as np
from safetensors import SafetensorError, safe_open

from eat.files import find_unfinished, replace_file

from .windows import frame_times

SETTINGS_NAME = "settings.json"
TIMES_NAME = "times"  # what an .npz or .safetensors file calls the times of the steps

# Arrays that are read when they are needed: all of them together need not fit into memory.
Arrays = Dict[str, Callable[[], np.ndarray]]


class FeatureStore:
    """Features by name; a name may have folders in it: `birds/wren`.

    Args:
        folder: where they go.
        format: "npy", a file per name; or "npz" or "safetensors", one file `features.<format>`.
        with_times: also store the times of the steps of the longest clip in the one file.
    """

    def __init__(self, folder: str, format: str = "npy", with_times: bool = False) -> None:
        self._file = None if format == "npy" else os.path.join(folder, f"features.{format}")
        self._folder = folder if self._file is None else f"{self._file}.parts"
        self._with_times = with_times
        is_there = self._file is not None and os.path.exists(self._file)
        self._stored = _open_arrays(self._file) if is_there else {}

    def has(self, name: str) -> bool:
        return name in self._stored or os.path.exists(self._path(name))

    def has_any(self, names: Iterable[str]) -> bool:
        return bool(self._stored) or any(map(self.has, names))

    def files(self, names: Iterable[str]) -> List[str]:
        """The files that these features are in, now or later."""
        return [*filter(None, [self._file]), *map(self._path, names)]

    def write(self, name: str, features: np.ndarray) -> None:
        """Write the features of a name; a ValueError if it leaves no room for their ending."""
        try:
            os.makedirs(os.path.dirname(self._path(name)), exist_ok=True)
            with replace_file(self._path(name)) as file:
                np.save(file, features)
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
        if waiting:
            arrays = {**self._stored, **waiting}
            if self._with_times:
                times = frame_times(max(map(_num_steps, arrays.values())))
                arrays[TIMES_NAME] = partial(times.astype, np.float32)
            with replace_file(self._file) as file:
                _WRITERS[os.path.splitext(self._file)[1]](file, arrays)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{name}.npy")


def name_features(path: str) -> str:
    """What the features of the file at a path below an input are called."""
    return os.path.splitext(os.path.normpath(path))[0]


def open_features(path: str) -> Arrays:
    """All features in a folder that `eat extract` wrote, or in one of its files.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: it is a file of another kind, or damaged.
    """
    for kind in _WRITERS:
        file = os.path.join(path, f"features{kind}")
        if os.path.exists(file):
            return _open_arrays(file)
    if os.path.isdir(path):
        return _arrays_below(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such features: {path}, expected a folder of `eat extract`")
    if os.path.splitext(path)[1] not in _WRITERS:
        raise ValueError(f"{path}: found another kind of file, expected {' or '.join(_WRITERS)}")
    return _open_arrays(path)


def remove_unfinished(files: Iterable[str]) -> None:
    """Remove what killed runs left beside the places of these files."""
    places = {os.path.abspath(file) for file in files}
    for folder in {os.path.dirname(place) for place in places}:
        for path, place in find_unfinished(folder):
            if place in places:
                os.remove(path)


def claim_folder(
    folder: str, settings: Mapping[str, Any], made_with: Mapping[str, Any], has_features: bool
) -> None:
    """Note in a folder how its features are made, or check that they were made in the same way.

    Args:
        folder: where the note, `settings.json`, is.
        settings: what features depend on.
        made_with: what else is good to know; it may differ between runs.
        has_features: whether there are features in the folder.

    Raises:
        ValueError: the features in the folder are made with other settings.
        FileExistsError: it has features but no note.
    """
    path = os.path.join(folder, SETTINGS_NAME)
    if os.path.exists(path):
        return _compare(path, settings)
    if has_features:
        raise FileExistsError(
            f"{folder}: found features without the {SETTINGS_NAME} that says how they were made;"
            " expected a new folder, or that of an earlier run"
        )
    os.makedirs(folder, exist_ok=True)
    with replace_file(path) as file:
        file.write(json.dumps({"settings": settings, "made_with": made_with}, indent=2).encode())


def _compare(path: str, settings: Mapping[str, Any]) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            recorded = dict(json.load(file)["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a note of `eat extract` on its settings") from error
    differing = [
        f"{key}={settings.get(key)!r} (there: {recorded.get(key)!r})"
        for key in sorted({*settings, *recorded})
        if settings.get(key) != recorded.get(key)
    ]
    if differing:
        raise ValueError(
            f"{path}: found features of other settings than the ones asked for,"
            f" {', '.join(differing)}; expected the same settings, or another folder"
        )


def _arrays_below(folder: str) -> Arrays:
    """The arrays of all .npy files in a folder."""
    paths = sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".npy")
    )
    names = [os.path.relpath(path, folder).removesuffix(".npy") for path in paths]
    return {
        name: partial(np.load, path, mmap_mode="r") for name, path in zip(names, paths, strict=True)
    }


def _open_arrays(path: str) -> Arrays:
    """All arrays in a file; a ValueError if it is damaged."""
    try:
        if path.endswith(".npz"):
            archive = np.load(path)
            return {name: partial(archive.__getitem__, name) for name in archive}
        file = safe_open(path, framework="numpy")
        return {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118
    except (zipfile.BadZipFile, SafetensorError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: damaged ({error}), expected features of `eat extract`; remove it to extract"
            " them anew"
        ) from error


def _write_npz(file: BinaryIO, arrays: Arrays) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, load in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, load(), allow_pickle=False)


def _write_safetensors(file: BinaryIO, arrays: Arrays) -> None:
    """Length of the header, header, data: by hand, as the library wants all data in memory."""
    header = {}
    end = 0
    for name, load in arrays.items():
        array = load()
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8 bytes
    file.write(len(text).to_bytes(8, "little") + text)
    for load in arrays.values():
        file.write(np.ascontiguousarray(load()).data)


def _num_steps(load: Callable[[], np.ndarray]) -> int:
    """H of features (..., H, D), or of the times (H,)."""
    shape = load().shape
    return shape[-2] if len(shape) > 1 else shape[0]


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
