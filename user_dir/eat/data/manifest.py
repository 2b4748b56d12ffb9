"""Manifests: which audio files a data set consists of, and how long each one is.

The text format of fairseq's wav2vec manifests, known to this module alone:

    /data/recordings
    birds/blackbird 1.wav<TAB>160000
    birds/wren.flac<TAB>441000

The first line is the root folder; a relative one starts at the manifest's own folder. Each
further line is a clip: its path below the root and its number of samples per channel, at the
file's own rate. The last tab of a line separates the two, so a path may hold anything but line
breaks; bytes that are not UTF-8 are kept as Python keeps them in file names.
"""

import mmap
import os
import re
from typing import Iterable, Iterator, Optional, Tuple, Union

import numpy as np

from ..files import replace_file

ManifestPath = Union[str, "os.PathLike[str]"]

MAX_DIGITS = 18  # of a number of samples; any such number fits into an int64

# Read or parsed at once while opening, so that the work arrays of millions of lines stay small.
_CHUNK_BYTES = 1 << 22
_CHUNK_LINES = 1 << 16

_BOM = b"\xef\xbb\xbf"
# What few lines hold and needs a closer look: (the last of) zero bytes, a path with a `..` folder.
_SUSPICIOUS = (re.compile(rb"\0[^\0]"), re.compile(rb"\.\.[/\t]"))


class ManifestError(ValueError):
    """A manifest that is not in the format; the message is `file:line: found ..., expected ...`."""


class Manifest:
    """The clips of a manifest file, looked up without a Python object per line.

    The file is memory-mapped, and beside it only the ends of the lines and the numbers of samples
    are kept, as arrays, so that forked workers share everything. Unpickling opens the file anew.

    Attributes:
        file: absolute path of the manifest.
        root: absolute path of the folder that holds the clips.
        num_samples: (N,) int64, samples per channel of each clip at its file's own rate; read-only.

    Raises:
        FileNotFoundError: there is no such manifest.
        ManifestError: the file is not a manifest; naming the line, what was found and expected.
    """

    def __init__(self, path: ManifestPath) -> None:
        self.file = os.path.abspath(os.fspath(path))
        self._text = _map_file(self.file)
        data = np.frombuffer(self._text, dtype=np.uint8)
        self._ends = _line_ends(data, _text_length(self._text))
        self.root = self._read_root()
        if len(self) == 0:
            raise self._error(1, "found no clips after the root folder, expected one per line")
        self.num_samples, first_invalid = _parse_clips(data, self._ends)
        self._check_lines(first_invalid)
        self.num_samples.flags.writeable = False

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __reduce__(self) -> Tuple[type, Tuple[str]]:
        return Manifest, (self.file,)

    def relative_path(self, index: int) -> str:
        """Path of clip `index`, counted from 0, below the root."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.file}: clip {index} of {len(self)}")
        line = self._line(index + 1)
        return os.fsdecode(line[: line.rindex(b"\t")])

    def relative_paths(self) -> Iterator[str]:
        """Paths of all clips below the root; several times as fast as one by one."""
        for begin in range(0, len(self), _CHUNK_LINES):
            end = min(begin + _CHUNK_LINES, len(self))
            lines = self._text[int(self._ends[begin]) + 1 : int(self._ends[end])]
            for line in os.fsdecode(lines).split("\n"):
                yield line[: line.rindex("\t")]

    def path(self, index: int) -> str:
        """Absolute path of clip `index`."""
        return os.path.join(self.root, self.relative_path(index))

    def location(self, index: int) -> str:
        """Where clip `index` is listed, for messages: `file:line`."""
        return f"{self.file}:{index + 2}"

    def _line(self, number: int) -> bytes:
        """Line `number`, counted from 0, without its line break."""
        start = int(self._ends[number - 1]) + 1 if number > 0 else 0
        return self._text[start : int(self._ends[number])].removesuffix(b"\r")

    def _read_root(self) -> str:
        line = self._line(0).removeprefix(_BOM)
        problem = _root_problem(line)
        if problem is not None:
            raise self._error(0, problem)
        return os.path.abspath(os.path.join(os.path.dirname(self.file), os.fsdecode(line)))

    def _check_lines(self, first_invalid: Optional[int]) -> None:
        numbers = set() if first_invalid is None else {first_invalid}
        for pattern in _SUSPICIOUS:
            matches = pattern.finditer(self._text, int(self._ends[0]))
            # In the type of the ends, which searchsorted would otherwise copy as float64.
            starts = np.array([match.start() for match in matches], dtype=self._ends.dtype)
            numbers.update(np.searchsorted(self._ends, starts).tolist())
        for number in sorted(numbers):
            problem = _clip_problem(self._line(number))
            if problem is not None:
                raise self._error(number, problem)

    def _error(self, number: int, problem: str) -> ManifestError:
        return ManifestError(f"{self.file}:{number + 1}: {problem}")


def write_manifest(path: ManifestPath, root: str, entries: Iterable[Tuple[str, int]]) -> int:
    """Write a manifest that `Manifest` reads back; an existing one is replaced at the end.

    Args:
        path: the file to write.
        root: the folder that holds the clips; a relative one starts at the manifest's folder.
        entries: for each clip its path below the root and its number of samples per channel.

    Returns:
        The number of clips.

    Raises:
        ManifestError: nothing to write, or a root, path or number that the format cannot hold.
    """
    root_line = os.fsencode(root)
    _refuse(path, _root_problem(root_line) or _line_break_problem(root_line))
    count = 0
    with replace_file(path) as file:
        file.write(root_line + b"\n")
        for relative_path, num_samples in entries:
            line = os.fsencode(relative_path) + b"\t%d" % num_samples
            _refuse(path, _line_break_problem(line) or _clip_problem(line))
            file.write(line + b"\n")
            count += 1
        if count == 0:
            _refuse(path, "found no clips to write, expected at least one")
    return count


def _map_file(path: str) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ManifestError(f"{path}:1: found an empty file, expected the root folder")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no such manifest: {path} (make one with `eat manifest folder DIR --out"
            f" {os.path.dirname(path)}`)"
        ) from error


def _text_length(text: mmap.mmap) -> int:
    """Bytes without the line breaks at the end, so that a last line with and without is alike."""
    length = len(text)
    while length > 0 and text[length - 1] in b"\r\n":
        length -= 1
    return length


def _line_ends(data: np.ndarray, length: int) -> np.ndarray:
    """Where each line of the first `length` bytes ends, in the smallest type that holds it."""
    chunks = [
        (start, min(start + _CHUNK_BYTES, length)) for start in range(0, length, _CHUNK_BYTES)
    ]
    # Counted first: arrays that are joined at the end need twice the memory for a moment.
    num_breaks = sum(np.count_nonzero(data[start:end] == ord("\n")) for start, end in chunks)
    ends = np.empty(num_breaks + 1, dtype=np.min_scalar_type(len(data)))
    filled = 0
    for start, end in chunks:
        breaks = np.flatnonzero(data[start:end] == ord("\n"))
        ends[filled : filled + len(breaks)] = breaks + start
        filled += len(breaks)
    ends[-1] = length
    return ends


def _parse_clips(data: np.ndarray, ends: np.ndarray) -> Tuple[np.ndarray, Optional[int]]:
    """Number of samples of each clip, and the first line that has none or a bad path, if any."""
    num_samples = np.empty(len(ends) - 1, dtype=np.int64)
    first_invalid = None
    for begin in range(0, len(num_samples), _CHUNK_LINES):
        chunk = ends[begin : begin + _CHUNK_LINES + 1].astype(np.int64)
        counts, is_valid = _parse_lines(data, chunk[:-1] + 1, chunk[1:])
        num_samples[begin : begin + len(counts)] = counts
        if first_invalid is None and not is_valid.all():
            first_invalid = begin + 1 + int(np.argmin(is_valid))
    return num_samples, first_invalid


def _parse_lines(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Read the digits of all lines at once, from the last to the tab before the first.

    Args:
        data: (bytes,) uint8, the whole file.
        starts: (n,) int64, where each line starts; a line break comes before it.
        ends: (n,) int64, where each line ends.

    Returns:
        (n,) int64 numbers of samples and (n,) bool, whether the line has the right form.
    """
    ends = ends - (data[ends - 1] == ord("\r"))
    counts = np.zeros(len(starts), dtype=np.int64)
    positions = ends - 1
    lines = np.arange(len(starts))  # those whose digits are not all read yet
    for power in range(MAX_DIGITS):
        digits = data[positions[lines]] - np.uint8(ord("0"))  # above 9 for all other bytes
        is_digit = digits < 10
        lines, digits = lines[is_digit], digits[is_digit].astype(np.int64)
        if len(lines) == 0:
            break
        counts[lines] += digits * 10**power
        positions[lines] -= 1
    has_count = (data[positions] == ord("\t")) & (positions < ends - 1)
    has_path = (positions > starts) & (data[starts] != ord("/"))
    return counts, has_count & has_path


def _clip_problem(line: bytes) -> Optional[str]:
    """What is wrong with the line of a clip: the definition of the format, and its messages."""
    path, tab, count = line.rpartition(b"\t")
    if not line:
        return "found a blank line, expected path<TAB>samples"
    if not tab:
        return f"found {_quote(line)} without a tab, expected path<TAB>samples"
    if not re.fullmatch(rb"[0-9]{1,%d}" % MAX_DIGITS, count):
        return (
            f"found {_quote(count)} after the last tab, expected the number of samples"
            f" (a whole number of at most {MAX_DIGITS} digits)"
        )
    if not path:
        return f"found no path before the tab of {_quote(line)}, expected path<TAB>samples"
    if b"\0" in path:
        return f"found a zero byte in {_quote(path)}, expected a file name (UTF-8, not UTF-16)"
    if path.startswith(b"/"):
        return f"found the absolute path {_quote(path)}, expected a path below the root folder"
    if os.path.normpath(path).split(b"/")[0] == b"..":
        return f"found {_quote(path)}, which leaves the root folder, expected a path below it"
    return None


def _root_problem(line: bytes) -> Optional[str]:
    """What is wrong with the first line, without its line break."""
    if not line:
        return "found a blank line, expected the root folder"
    if b"\0" in line:
        return f"found a zero byte in {_quote(line)}, expected the root folder (UTF-8, not UTF-16)"
    if re.search(rb"\t[0-9]+$", line):
        return f"found the clip {_quote(line)}, expected the root folder: its line is missing"
    return None


def _line_break_problem(line: bytes) -> Optional[str]:
    if b"\n" in line or b"\r" in line:
        return f"found a line break in {_quote(line)}, expected a name without: rename the file"
    return None


def _refuse(path: ManifestPath, problem: Optional[str]) -> None:
    if problem is not None:
        raise ManifestError(f"{os.fspath(path)}: {problem}")


def _quote(text: bytes, limit: int = 120) -> str:
    quoted = repr(os.fsdecode(text[:limit]))
    return quoted if len(text) <= limit else f"{quoted}..."
