"""Files that are complete or absent."""

import os
import re
import shutil
from contextlib import contextmanager, suppress
from typing import BinaryIO, Iterator, NamedTuple, Optional, Union

FilePath = Union[str, "os.PathLike[str]"]

_MAX_NAME_BYTES = 255  # of a file, on nearly all file systems
LOCAL_PATH = "a local path: copy what the URL names, or mount it (rclone mount)"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_UNFINISHED = re.compile(r"\.(.+)\.[0-9]+\.tmp", re.DOTALL)


class Unfinished(NamedTuple):
    """A file that a killed process left behind, and the one it was to become."""

    path: str
    place: str


def url_problem(path: FilePath) -> Optional[str]:
    """Say what is wrong with a path if it is a URL, such as s3://bucket/a.wav; else None."""
    return f"found a URL, expected {LOCAL_PATH}" if _URL.match(os.fspath(path)) else None


@contextmanager
def replace_file(path: FilePath) -> Iterator[BinaryIO]:
    """Write a file beside `path` that takes its place when complete, and never on an error."""
    path = os.path.abspath(os.fspath(path))
    with _beside(path) as unfinished:
        with open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)


def link_file(source: FilePath, path: FilePath) -> None:
    """Give a file that never changes a second name, which takes the place of what has that name.

    Where the file system has no hard links, the second name is a copy.
    """
    source, path = os.fspath(source), os.path.abspath(os.fspath(path))
    with _beside(path) as unfinished:
        try:
            os.link(source, unfinished)
        except OSError:
            with open(source, "rb") as original, replace_file(path) as copy:
                shutil.copyfileobj(original, copy, 1 << 20)
        else:
            os.replace(unfinished, path)


def sync_folder(folder: FilePath) -> None:
    """Wait until the names in a folder are on the disk, so that no crash takes them back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_unfinished(folder: FilePath) -> Iterator[Unfinished]:
    """What killed processes left in a folder; nothing if there is no such folder."""
    folder = os.path.abspath(os.fspath(folder))
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        match = _UNFINISHED.fullmatch(name)
        if match:
            yield Unfinished(os.path.join(folder, name), os.path.join(folder, match[1]))


@contextmanager
def _beside(path: str) -> Iterator[str]:
    """A name beside `path` that is gone at the end, whatever happens."""
    folder, name = os.path.split(path)
    ending = f".{os.getpid()}.tmp"
    room = _MAX_NAME_BYTES - len(ending) - 1
    if len(os.fsencode(name)) > room:  # the beginning is enough: it is unique in this process
        name = os.fsdecode(os.fsencode(name)[:room])
    unfinished = os.path.join(folder, f".{name}{ending}")
    try:
        yield unfinished
    finally:
        with suppress(FileNotFoundError):
            os.remove(unfinished)
