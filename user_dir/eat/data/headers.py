"""Clips, and what the headers of their files say."""

import os
from functools import partial
from typing import List, NamedTuple, Sequence, Tuple, Union

from eat.work import Failure, is_failure, map_in_threads


class Clip(NamedTuple):
    """A clip as manifests and label files list it."""

    path: str  # below the manifest's root
    num_samples: int  # per channel, at the file's own rate
    sample_rate_hz: int = 0  # 0: not known
    num_channels: int = 0
    labels: Tuple[str, ...] = ()  # ids of its classes


def read_headers(
    folder: str, paths: Sequence[str], num_workers: int
) -> Tuple[List[Clip], List[Failure]]:
    """Read the headers of files below a folder, in their order."""
    read = partial(_read_header, folder)
    results = list(map_in_threads(read, paths, num_workers, "reading headers"))
    clips = [result for result in results if isinstance(result, Clip)]
    return clips, [result for result in results if is_failure(result)]


def _read_header(folder: str, path: str) -> Union[Clip, Failure]:
    from eat.audio import audio_info

    absolute = os.path.join(folder, path)
    if not os.path.isfile(absolute):  # opening a pipe would wait forever
        is_there = os.path.lexists(absolute)
        return Failure(path, "not a file, or a broken link" if is_there else "no such file")
    if "\n" in path or "\r" in path:
        return Failure(path, "a line break in its name, which a manifest cannot hold")
    try:
        info = audio_info(absolute)
    except (ValueError, OSError) as error:
        return Failure(path, Failure.of(absolute, error).reason)
    return Clip(path, *info) if info.num_samples > 0 else Failure(path, "no samples")
