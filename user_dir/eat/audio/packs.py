"""Packs: many clips in one file. The address of a clip can be used wherever a path can.

    pack.zip:OFFSET:LENGTH    an audio file inside an uncompressed zip: these bytes (fairseq's way)
    pack.h5/KEY               samples inside an HDF5 file (also .hdf5), with their `sample_rate`

A process opens a pack once and keeps it open. Zips are mapped into memory, so that threads and
forked workers share them. HDF5 files are opened again after a fork, as the library demands.
"""

import io
import os
import re
import struct
import zipfile
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple, Union

from . import AudioError

_ZIP_ADDRESS = re.compile(r"(.+\.zip):([0-9]+):([0-9]+)", re.DOTALL)
_HDF5_ADDRESS = re.compile(r"\.(?:h5|hdf5)(?=/.)", re.DOTALL)
OPEN_PACKS = 64


class ZipAddress(NamedTuple):
    """Where the bytes of a file are in a zip."""

    pack: str
    offset: int
    length: int


class Hdf5Address(NamedTuple):
    """Where the samples of a clip are in an HDF5 file."""

    pack: str
    key: str


def find_pack(path: str) -> Optional[Union[ZipAddress, Hdf5Address]]:
    """Take a path apart if it is an address in a pack; None if it is the path of a file.

    A path that continues after `.h5/` or `.hdf5/` is an address if the part before is a file. A
    path that ends in `.zip:NUMBER:NUMBER` always is one.
    """
    for ending in _HDF5_ADDRESS.finditer(path):
        if os.path.isfile(path[: ending.end()]):
            return Hdf5Address(path[: ending.end()], path[ending.end() + 1 :])
    found = _ZIP_ADDRESS.fullmatch(path)
    return ZipAddress(found[1], int(found[2]), int(found[3])) if found else None


def zip_bytes(address: ZipAddress) -> memoryview:
    """The bytes at an address, without a copy."""
    pack = _map_pack(address.pack, version_of(address.pack))
    end = address.offset + address.length
    if address.length == 0 or end > len(pack):
        raise AudioError(
            f"{address.pack}: found {len(pack)} bytes, expected a clip at {address.offset} to {end}"
        )
    return memoryview(pack)[address.offset : end]


def list_zip(pack: str) -> Iterator[Tuple[str, int, int]]:
    """Name, offset and length of each file in a zip; an AudioError if one is compressed."""
    version_of(pack)
    try:
        content, members = map_file(pack), zipfile.ZipFile(pack).infolist()
        # The member's own header says how long its name and extra field are.
        sizes = [struct.unpack_from("<2H", content, m.header_offset + 26) for m in members]
    except Exception as error:  # zipfile raises many types on damaged files
        raise AudioError(f"{pack}: not readable as zip: {error}") from error
    for member, own_sizes in zip(members, sizes, strict=True):
        if member.compress_type != zipfile.ZIP_STORED:
            raise AudioError(f"{pack}: found {member.filename} compressed, expected it stored")
        yield member.filename, member.header_offset + 30 + sum(own_sizes), member.file_size


def spell_out(path: str, folder: str) -> str:
    """A path below a folder, in which a clip's name in its zip replaces the offset and length."""
    address = find_pack(os.path.join(folder, path))
    if not isinstance(address, ZipAddress):
        return path
    return f"{path[: path.rindex('.zip:')]}.zip/{name_in_zip(address)}"


def name_in_zip(address: ZipAddress) -> str:
    """A clip's name in its zip; without one, its offset and length."""
    pack, offset, length = address
    return _zip_names(pack, version_of(pack)).get(offset, f"{offset}-{length}")


def map_file(path: str) -> memoryview:
    """Map a file into memory; it must not be empty."""
    with open(path, "rb") as file:
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))


class BytesAsFile(io.RawIOBase):
    """Bytes as a file; they are copied only when they are read.

    The file may claim another size than `len(data)`. Nothing can be read beyond the data, except at
    the claimed end: decoders look for tags there, and get the data's.
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
    """A value that changes when a pack is replaced: the old one is still open, but outdated."""
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
