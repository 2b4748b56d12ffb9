"""Files that are complete or absent."""

import os
from contextlib import contextmanager, suppress
from typing import BinaryIO, Iterator, Union


@contextmanager
def replace_file(path: Union[str, "os.PathLike[str]"]) -> Iterator[BinaryIO]:
    """Write a file beside `path` that takes its place when complete, and never on an error."""
    path = os.path.abspath(os.fspath(path))
    folder, name = os.path.split(path)
    unfinished = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(unfinished)
        raise
