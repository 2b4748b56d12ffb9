"""Manifests: which audio files a data set consists of, and how long each one is.

This module alone knows the text format, which is that of fairseq's wav2vec manifests:

    /data/recordings
    birds/blackbird 1.wav<TAB>160000
    birds/wren.flac<TAB>441000

The first line is the root folder; a relative one starts at the manifest's own folder. Each further
line is a clip: its path below the root and its number of samples per channel, at the file's own
rate. The last tab of a line separates the two, so a path may hold anything but line breaks. Bytes
that are not UTF-8 are kept as Python keeps them in file names.
"""

import glob
import mmap
import os
import re
from functools import cached_property
from itertools import pairwise
from typing import Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np

from eat.files import BOM, FilePath, guard_first, replace_file, url_problem

MAX_DIGITS = 18  # of a number of samples; any such number fits into an int64

_CHUNK_BYTES = 1 << 20  # parsed at once: the work arrays of millions of lines stay small
_LINES_PER_MARK = 16  # the end of one line in 16 is kept; the others are searched from there
_MARKS_AT_ONCE = 1 << 12  # decoded at once by `relative_paths`

# Few lines hold these, and each such line is checked: (the last of) zero bytes, a `..` folder, what
# may be a URL.
_SUSPICIOUS = (re.compile(rb"\0[^\0]"), re.compile(rb"\.\.[/\t]"), re.compile(rb"://"))


class ManifestError(ValueError):
    """A manifest has a bad line; the message is `file:line: found ..., expected ...`."""


# Number of clips; where lines 0, 16, 32, ... end (line 0 is the root folder); size and time of the
# last change of the file.
_Lines = Tuple[int, np.ndarray, Tuple[int, int]]


class Manifest:
    """The clips of a manifest file, without a Python object per line.

    The file is memory-mapped, so that all processes share it. A pickled copy for another process
    takes along the places of one line in 16; it reads the numbers of samples again if needed.
    `file` and `root`, the folder that holds the clips, are absolute paths.
    """

    def __init__(self, path: FilePath, _lines: Optional[_Lines] = None) -> None:
        _refuse(os.fspath(path), url_problem(path))
        self.file = os.path.abspath(os.fspath(path))
        self._text, self._version = _map_file(self.file)
        self._length = len(self._text)  # without the line breaks at the end
        while self._length > 0 and self._text[self._length - 1] in b"\r\n":
            self._length -= 1
        self._root_end = self._find_end(0)
        root = self._text[: self._root_end].removesuffix(b"\r").removeprefix(BOM)
        _refuse(f"{self.file}:1", _root_problem(root))
        self.root = os.path.abspath(os.path.join(os.path.dirname(self.file), os.fsdecode(root)))
        if _lines is None:
            self._check_clips()
        else:  # the lines were checked when the file was opened first
            self._count, self._marks, version = _lines
            if version != self._version:
                _refuse(self.file, "changed while in use, expected it to stay as it was")

    def __len__(self) -> int:
        return self._count

    def __reduce__(self) -> Tuple[type, Tuple[str, _Lines]]:
        return Manifest, (self.file, (self._count, self._marks, self._version))

    @cached_property
    def num_samples(self) -> np.ndarray:
        """(N,) int64, samples per channel of each clip at its file's own rate; read-only."""
        return self._parse_clips()[0]

    def relative_path(self, index: int) -> str:
        """Path of clip `index`, counted from 0, below the root."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.file}: clip {index} of {len(self)}")
        line = self._line(index + 1)
        return os.fsdecode(line[: line.rindex(b"\t")])

    def clip_samples(self, index: int) -> int:
        """`num_samples[index]`, without parsing the other lines."""
        if "num_samples" in self.__dict__:
            return int(self.num_samples[index])
        line = self._line(index + 1)
        return int(line[line.rindex(b"\t") + 1 :])

    def relative_paths(self) -> Iterator[str]:
        """Paths of all clips below the root; several times faster than one by one."""
        ends = self._marks[::_MARKS_AT_ONCE].tolist()
        if ends[-1] < self._length:  # else the last mark is the last line's end
            ends.append(self._length)
        for begin, end in pairwise(ends):
            for line in os.fsdecode(self._text[begin + 1 : end]).split("\n"):
                yield line[: line.rindex("\t")]

    def path(self, index: int) -> str:
        """Absolute path of clip `index`, or its address in a pack."""
        return os.path.join(self.root, self.relative_path(index))

    def location(self, index: int) -> str:
        """Where clip `index` is listed, for messages: `file:line`."""
        return f"{self.file}:{index + 2}"

    @property
    def parts(self) -> List["Manifest"]:
        """This manifest alone; see `JoinedManifest`."""
        return [self]

    @property
    def _data(self) -> np.ndarray:
        return np.frombuffer(self._text, dtype=np.uint8)

    def _line(self, number: int) -> bytes:
        """Line `number`, which is 1 for the first clip, without its line break."""
        mark, num_between = divmod(number - 1, _LINES_PER_MARK)
        end = int(self._marks[mark])
        for _ in range(num_between):
            end = self._find_end(end + 1)
        return self._text[end + 1 : self._find_end(end + 1)].removesuffix(b"\r")

    def _find_end(self, start: int) -> int:
        end = self._text.find(b"\n", start, self._length)
        return self._length if end < 0 else end

    def _line_number(self, position: int) -> int:
        """The line that holds the byte at a position, which must be after the root's line."""
        mark = int(np.searchsorted(self._marks, position)) - 1
        before = self._text[int(self._marks[mark]) : position]
        return mark * _LINES_PER_MARK + before.count(b"\n")

    def _check_clips(self) -> None:
        self.num_samples, self._marks, first_invalid = self._parse_clips()
        self._count = len(self.num_samples)
        if self._count == 0:
            _refuse(f"{self.file}:2", "found no clips after the root folder, expected one per line")
        numbers = set() if first_invalid is None else {first_invalid}
        for pattern in _SUSPICIOUS:
            for match in pattern.finditer(self._text, self._root_end):
                # A crash may leave zero bytes after the last line.
                numbers.add(self._line_number(min(match.start(), self._length - 1)))
        for number in sorted(numbers):
            _refuse(f"{self.file}:{number + 1}", _clip_problem(self._line(number)))

    def _iterate_lines(self) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Yield starts and ends of the clips' lines, (n,) int64 each, a chunk at a time."""
        start = self._root_end + 1
        for begin in range(start, self._length, _CHUNK_BYTES):
            stop = min(begin + _CHUNK_BYTES, self._length)
            ends = np.flatnonzero(self._data[begin:stop] == ord("\n")) + begin
            if stop == self._length:
                ends = np.append(ends, stop)
            if len(ends) > 0:
                yield np.append(start, ends[:-1] + 1), ends
                start = int(ends[-1]) + 1

    def _count_lines(self) -> int:
        """The clips' lines; counting them first costs less than growing the array of numbers."""
        begins = range(self._root_end + 1, self._length, _CHUNK_BYTES)
        chunks = (self._data[begin : min(begin + _CHUNK_BYTES, self._length)] for begin in begins)
        return sum(int(np.count_nonzero(c == ord("\n"))) for c in chunks) + bool(begins)

    def _parse_clips(self) -> Tuple[np.ndarray, np.ndarray, Optional[int]]:
        """Numbers of samples, ends of the root's line and every 16th after it, first bad line."""
        dtype = np.min_scalar_type(len(self._text))
        num_samples = np.empty(self._count_lines(), np.int64)
        marks = [np.array([self._root_end], dtype)]
        num_clips, first_invalid = 0, None
        for starts, ends in self._iterate_lines():
            numbers, is_valid = _parse_lines(self._data, starts, ends)
            if first_invalid is None and not is_valid.all():
                first_invalid = num_clips + 1 + int(np.argmin(is_valid))
            marks.append(ends[-(num_clips + 1) % _LINES_PER_MARK :: _LINES_PER_MARK].astype(dtype))
            num_samples[num_clips : num_clips + len(numbers)] = numbers
            num_clips += len(numbers)
        num_samples.flags.writeable = False
        return num_samples, np.concatenate(marks), first_invalid


def is_manifest(path: FilePath) -> bool:
    """Whether a path is that of a manifest, by its name, and not of a folder."""
    return os.fspath(path).lower().endswith(".tsv") and not os.path.isdir(path)


def write_manifest(path: FilePath, root: str, entries: Iterable[Tuple[str, int]]) -> int:
    """Write a manifest that `Manifest` reads back; an existing file is replaced at the end.

    Takes for each clip its path below the root and its number of samples per channel; returns the
    number of clips. A relative root starts at the manifest's folder.
    """
    root_line = os.fsencode(root)
    place = os.fspath(path)
    _refuse(place, _root_problem(root_line) or _line_break_problem(root_line))
    count = 0
    with replace_file(path) as file:
        file.write(guard_first(root_line) + b"\n")
        for relative_path, num_samples in entries:
            line = os.fsencode(relative_path) + b"\t%d" % num_samples
            _refuse(place, _line_break_problem(line) or _clip_problem(line))
            file.write(line + b"\n")
            count += 1
        if count == 0:
            _refuse(place, "found no clips to write, expected at least one")
    return count


def _map_file(path: str) -> Tuple[mmap.mmap, Tuple[int, int]]:
    """Map a file into memory; returns the map and the file's version."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size == 0:
                raise ManifestError(f"{path}:1: found an empty file, expected the root folder")
            version = (status.st_size, status.st_mtime_ns)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), version
    except FileNotFoundError as error:
        folder = os.path.dirname(path) or "."
        others = sorted(glob.glob("*.tsv", root_dir=folder))
        found = f"there are {', '.join(others)}; " if others else ""
        raise FileNotFoundError(
            f"no such manifest: {path} ({found}`eat manifest folder DIR --out {folder}` makes one)"
        ) from error
    except IsADirectoryError as error:
        raise IsADirectoryError(
            f"{path}: found a folder, expected a manifest (`eat manifest folder {path} --out OUT`"
            " makes one of the audio files in it)"
        ) from error


def _parse_lines(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Read the digits of many lines at once, from the last digit back to the tab.

    Takes the whole file (bytes,) uint8, and the place (n,) int64 where each line starts and ends.
    Returns numbers of samples (n,) int64, and (n,) bool: whether the line has the right form.
    """
    ends = ends - (data[ends - 1] == ord("\r"))
    counts = np.zeros(len(starts), dtype=np.int64)
    positions = ends - 1
    lines = np.arange(len(starts))  # the lines with digits left to read
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
    """Say what is wrong with the line of a clip. This function defines the format."""
    path, tab, count = line.rpartition(b"\t")
    if not line:
        return "found a blank line, expected path<TAB>samples"
    if not tab:
        return f"found {quote(line)} without a tab, expected path<TAB>samples"
    if not re.fullmatch(rb"[0-9]{1,%d}" % MAX_DIGITS, count):
        return (
            f"found {quote(count)} after the last tab, expected the number of samples"
            f" (a whole number of at most {MAX_DIGITS} digits)"
        )
    if not path:
        return f"found no path before the tab of {quote(line)}, expected path<TAB>samples"
    if b"\0" in path:
        return f"found a zero byte in {quote(path)}, expected a file name (UTF-8, not UTF-16)"
    if path.startswith(b"/"):
        return f"found the absolute path {quote(path)}, expected a path below the root folder"
    if url_problem(os.fsdecode(path)):
        return f"{quote(path)}: {url_problem(os.fsdecode(path))}"
    if os.path.normpath(path).split(b"/")[0] == b"..":
        return f"found {quote(path)}, which leaves the root folder, expected a path below it"
    return None


def _root_problem(line: bytes) -> Optional[str]:
    """Say what is wrong with the first line, given without its line break."""
    if not line:
        return "found a blank line, expected the root folder"
    if b"\0" in line:
        return f"found a zero byte in {quote(line)}, expected the root folder (UTF-8, not UTF-16)"
    if re.search(rb"\t[0-9]+$", line):
        return f"found the clip {quote(line)}, expected the root folder: its line is missing"
    problem = url_problem(os.fsdecode(line))
    return f"{quote(line)}: {problem}" if problem else None


def _line_break_problem(line: bytes) -> Optional[str]:
    if b"\n" in line or b"\r" in line:
        return f"found a line break in {quote(line)}, expected a name without: rename the file"
    return None


def _refuse(place: str, problem: Optional[str]) -> None:
    if problem is not None:
        raise ManifestError(f"{place}: {problem}")


def quote(text: Union[str, bytes], limit: int = 120) -> str:
    """Quote a text or the name of a file for a message, cut off at `limit` characters."""
    text = os.fsdecode(text)
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}..."
