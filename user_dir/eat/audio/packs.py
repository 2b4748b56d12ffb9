"""Packs: many clips in one file, each with an address that stands wherever a path does.

    pack.zip:OFFSET:LENGTH    an audio file inside an uncompressed zip: these bytes (fairseq's way)
    pack.h5/KEY               samples inside an HDF5 file (also .hdf5), with their `sample_rate`

Packs are opened once in a process and stay open. Zips are mapped into memory: threads and forked
workers read them at once. HDF5 files are opened anew after a fork, as the library asks for.
"""

import io
import os
import re
import struct
import zipfile
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple, Union

from .errors import AudioError

_ZIP_ADDRESS = re.compile(r"(.+\.zip):([0-9]+):([0-9]+)", re.DOTALL)
_HDF5_ADDRESS = re.compile(r"\.(?:h5|hdf5)(?=/.)", re.DOTALL)
OPEN_PACKS = 64


class ZipAddress(NamedTuple):
    """Where in a zip the bytes of a file are."""

    pack: str
    offset: int
    length: int


class Hdf5Address(NamedTuple):
    """Where in an HDF5 file the samples of a clip are."""

    pack: str
    key: str


def find_pack(path: str) -> Optional[Union[ZipAddress, Hdf5Address]]:
    """The address that a path is; None: it is the path of a file.

    A name that goes on after `.h5/` or `.hdf5/` is an address if the part before is a file; any
    other that ends in `.zip:NUMBER:NUMBER` always is.
    """
    for ending in _HDF5_ADDRESS.finditer(path):
        if os.path.isfile(path[: ending.end()]):
            return Hdf5Address(path[: ending.end()], path[ending.end() + 1 :])
    found = _ZIP_ADDRESS.fullmatch(path)
    return ZipAddress(found[1], int(found[2]), int(found[3])) if found else None


def zip_bytes(address: ZipAddress) -> memoryview:
    """The bytes of an address, without a copy.

    Raises:
        FileNotFoundError: there is no such pack.
        AudioError: it ends before the bytes do.
    """
    pack = _map_pack(address.pack, version_of(address.pack))
    end = address.offset + address.length
    if address.length == 0 or end > len(pack):
        raise AudioError(
            f"{address.pack}: found {len(pack)} bytes, expected a clip at {address.offset} to {end}"
        )
    return memoryview(pack)[address.offset : end]


def list_zip(pack: str) -> Iterator[Tuple[str, int, int]]:
    """Name, offset and length of each file in a zip.

    Raises:
        FileNotFoundError: there is no such pack.
        AudioError: it is no zip, or a compressed one.
    """
    version_of(pack)
    try:
        members = zipfile.ZipFile(pack).infolist()
    except zipfile.BadZipFile as error:
        raise AudioError(f"{pack}: not readable as zip: {error}") from error
    content = map_file(pack)
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise AudioError(f"{pack}: found {member.filename} compressed, expected it stored")
        # The fields behind the header are as long as the file says, not as the directory does.
        sizes = struct.unpack_from("<2H", content, member.header_offset + 26)
        yield member.filename, member.header_offset + 30 + sum(sizes), member.file_size


def spell_out(path: str, folder: str) -> str:
    """A path below a folder with the name that a clip has in its zip in place of its bytes."""
    address = find_pack(os.path.join(folder, path))
    if not isinstance(address, ZipAddress):
        return path
    names = _zip_names(address.pack, version_of(address.pack))
    pack = path[: path.rindex(".zip:")]
    return f"{pack}.zip/{names.get(address.offset, f'{address.offset}-{address.length}')}"


def map_file(path: str) -> memoryview:
    """The bytes of a file that is not empty, mapped into memory."""
    with open(path, "rb") as file:
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))


class BytesAsFile(io.RawIOBase):
    """Bytes as a file of which nothing is copied until it is read.

    Args:
        data: the bytes.
        size: what the file says its size is, if not `len(data)`. All that goes beyond is missing,
            but for the last bytes, which are those of `data`: tags are looked for there.
    """

    TAG_BYTES = 128

    def __init__(self, data: memoryview, size: Optional[int] = None) -> None:
        super().__init__()
        self._data = data
        self._size = len(data) if size is None else size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        start = self._position
        if start >= self._size - self.TAG_BYTES:
            start = max(0, start - (self._size - len(self._data)))
        found = self._data[start : start + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


def version_of(pack: str) -> Tuple[int, ...]:
    """Differs when a pack was written anew: what is open of the old one must not be read."""
    try:
        status = os.stat(pack)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such pack of audio: {pack}") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(OPEN_PACKS)
def _map_pack(pack: str, version: Tuple[int, ...]) -> memoryview:
    if version[2] == 0:
        raise AudioError(f"{pack}: found an empty file, expected a zip")
    return map_file(pack)


@lru_cache(OPEN_PACKS)
def _zip_names(pack: str, version: Tuple[int, ...]) -> Dict[int, str]:
    return {offset: name for name, offset, _ in list_zip(pack)}
