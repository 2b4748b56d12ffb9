"""Files that are complete or absent, and files that one process at a time writes."""

import errno
import logging
import os
import re
import shutil
import socket
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import BinaryIO, Iterator, Optional, Tuple, Union

FilePath = Union[str, "os.PathLike[str]"]

BOM = b"\xef\xbb\xbf"  # that editors put before UTF-8; readers leave out one

logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 255  # of a file, on nearly all file systems
LOCAL_PATH = "a local path: copy what the URL names, or mount it (rclone mount)"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_UNFINISHED = re.compile(r"\.(.+)\.[0-9]+\.tmp", re.DOTALL)


class InUseError(OSError):
    """Another process holds a lock; `owner` says which one, on which host, and since when."""

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"{path}: in use by {owner}")
        self.owner = owner


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


def write_file(path: FilePath, content: bytes) -> None:
    """Write a file that is complete or absent, in a folder that is made if it is not there."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with replace_file(path) as file:
        file.write(content)


def guard_first(line: bytes) -> bytes:
    """The first line of a text, with a mark before one that begins as the byte order mark does."""
    return BOM * line.startswith(BOM) + line


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


@contextmanager
def lock_file(path: FilePath) -> Iterator[None]:
    """Keep other processes, also on other hosts, from what they lock by the same name meanwhile.

    `path` is a small file of its own beside what it protects, `features.h5.lock` for example. It
    names the owner, and is gone at the end. The system frees the lock of a process that is killed,
    so a file that stays, or a copy of it, locks nothing. Processes that are forked meanwhile do not
    hold the lock. The owner must neither lock nor open `path` again meanwhile: closing it would
    free the lock.

    Where the file system has no locks there is one warning, and the work goes on without. An
    InUseError says that another process holds the lock, another OSError that there can be no file.
    """
    path = os.path.abspath(os.fspath(path))
    descriptor, process = _open_locked(path), os.getpid()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    owner = f"process {process} on {socket.gethostname()} since {now}"
    try:
        with suppress(OSError):  # a full disk: nothing but these words is lost
            os.truncate(descriptor, 0)
            os.write(descriptor, owner.encode())
        yield
    finally:
        if os.getpid() == process:  # not in a fork
            with suppress(OSError):
                os.remove(path)
        os.close(descriptor)


def _open_locked(path: str) -> int:
    """A descriptor of the file of that name, locked; an owner may remove the file meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl  # Windows has none

            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (ImportError, OSError) as error:
            if getattr(error, "errno", None) not in (errno.EACCES, errno.EAGAIN):
                logger.warning("%s: cannot be locked (%s); going on without a lock", path, error)
                return descriptor
            owner = os.read(descriptor, 1000).decode(errors="replace")
            os.close(descriptor)
            raise InUseError(path, owner or "another process") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def sync_folder(folder: FilePath) -> None:
    """Wait until the names in a folder are on the disk, so that no crash takes them back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_unfinished(folder: FilePath) -> Iterator[Tuple[str, str]]:
    """Files that killed processes left in a folder, if it is there, and what each was to become."""
    folder = os.path.abspath(os.fspath(folder))
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        match = _UNFINISHED.fullmatch(name)
        if match:
            yield os.path.join(folder, name), os.path.join(folder, match[1])


@contextmanager
def _beside(path: str) -> Iterator[str]:
    """A name beside `path` that is gone at the end, whatever happens."""
    folder, name = os.path.split(path)
    ending = f".{int.from_bytes(os.urandom(5), 'big')}.tmp"  # two machines may share a process id
    room = _MAX_NAME_BYTES - len(ending) - 1
    if len(os.fsencode(name)) > room:  # the beginning is enough: the ending is unique
        name = os.fsdecode(os.fsencode(name)[:room])
    unfinished = os.path.join(folder, f".{name}{ending}")
    try:
        yield unfinished
    finally:
        with suppress(FileNotFoundError):
            os.remove(unfinished)
