"""Addresses, which can be used wherever a path can: of clips in packs, and of parts of files.

A pack is one file with many clips.

    pack.zip:OFFSET:LENGTH    an audio file inside an uncompressed zip: these bytes (fairseq's way)
    pack.tar:OFFSET:LENGTH    likewise in an uncompressed tar, such as a shard of webdataset
    pack.h5/KEY               samples inside an HDF5 file (also .hdf5), with their `sample_rate`
    dawn.flac/12.5-15.25      a part of an audio file that is in no pack, in seconds

A process opens a pack once and keeps it open. Zips and tars are mapped into memory, so that threads
and forked workers share them. HDF5 files are opened again after a fork, as the library demands.
"""

import io
import os
import posixpath
import re
import struct
import tarfile
import zipfile
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple, Union

from . import AudioError

_ARCHIVE_ADDRESS = re.compile(r"(.+\.(?:zip|tar)):([0-9]+):([0-9]+)", re.DOTALL | re.IGNORECASE)
_HDF5_ADDRESS = re.compile(r"\.(?:h5|hdf5)(?=/.)", re.DOTALL)
_PART_ADDRESS = re.compile(r"(.+)/([0-9]+(?:\.[0-9]+)?-[0-9]+(?:\.[0-9]+)?)", re.DOTALL)
_NOT_ZERO = re.compile(rb"[^\0]")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
_TAR_BLOCK = 512  # bytes; a tar ends with blocks of zeros
OPEN_PACKS = 64


class ArchiveAddress(NamedTuple):
    """Where the bytes of a file are in a zip or tar."""

    pack: str
    offset: int
    length: int


class Hdf5Address(NamedTuple):
    """Where the samples of a clip are in an HDF5 file."""

    pack: str
    key: str


class PartAddress(NamedTuple):
    """Which part of an audio file is a clip."""

    file: str
    start_seconds: float
    stop_seconds: float


def find_part(path: str) -> Optional[PartAddress]:
    """Take a path apart if it is the address of a part of a file, `FILE/START-STOP` in seconds.

    It is one only if the part before the slash is a file: below a file there can be no other.
    """
    found = _PART_ADDRESS.fullmatch(path)
    if not found or not os.path.isfile(found[1]) or find_pack(path):
        return None
    return PartAddress(found[1], *map(float, found[2].split("-")))


def find_pack(path: str) -> Optional[Union[ArchiveAddress, Hdf5Address]]:
    """Take a path apart if it is an address in a pack; None if it is the path of a file.

    A path that continues after `.h5/` or `.hdf5/` is an address if the part before is a file. A
    path that ends in `.zip:NUMBER:NUMBER` or `.tar:NUMBER:NUMBER` always is one.
    """
    for ending in _HDF5_ADDRESS.finditer(path):
        if os.path.isfile(path[: ending.end()]):
            return Hdf5Address(path[: ending.end()], path[ending.end() + 1 :])
    found = _ARCHIVE_ADDRESS.fullmatch(path)
    return ArchiveAddress(found[1], int(found[2]), int(found[3])) if found else None


def archive_bytes(address: ArchiveAddress) -> memoryview:
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


def read_bytes(path: str) -> bytes:
    """The content of a file, or of one in a zip or tar."""
    address = find_pack(path)
    if not isinstance(address, ArchiveAddress):
        with open(path, "rb") as file:
            return file.read()
    return bytes(archive_bytes(address)) if address.length else b""


class Member(NamedTuple):
    """A file in a tar."""

    name: str  # below the tar, without `.`, `..` and a slash in front
    offset: int
    length: int
    problem: str = ""  # why it cannot be read


def list_tar(pack: str) -> Iterator[Member]:
    """The files in a tar, in their order; only the headers are read.

    An AudioError tells of a tar that is compressed, empty, cut off or damaged, and where.
    """
    content = _map_pack(pack, version_of(pack))
    if bytes(content[:6]).startswith(_COMPRESSED):
        raise AudioError(
            f"{pack}: found a compressed tar, in which no clip can be read without all before it;"
            " expected an uncompressed one: unpack it (gunzip, unzstd)"
        )
    seen: Dict[str, int] = {}
    end = 0  # of what was understood
    try:
        with tarfile.open(pack, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                end = archive.offset if archive.offset <= len(content) else end
                name = posixpath.normpath(f"/{member.name}").lstrip("/")
                if not member.isdir():
                    first = seen.setdefault(name, member.offset_data)
                    problem = _find_problem(member, first)
                    yield Member(name, member.offset_data, member.size, problem)
    except (tarfile.TarError, ValueError, OverflowError) as error:  # damaged headers raise these
        raise AudioError(f"{pack}: cut off or damaged from byte {end} on: {error}") from error
    # tarfile takes whatever is no header for the end.
    if len(content) < end + _TAR_BLOCK or _NOT_ZERO.search(content, end):
        raise AudioError(
            f"{pack}: cut off or damaged from byte {end} on: found {len(content) - end} bytes that"
            " are no member, expected zeros, which end a tar"
        )
    if not seen:
        raise AudioError(f"{pack}: found an empty tar, expected one with audio files")


def _find_problem(member: tarfile.TarInfo, first: int) -> str:
    if first != member.offset_data:
        return f"the second of its name in the tar; the first is at byte {first}"
    if member.issparse():
        return "a sparse file, whose bytes are not all in the tar: pack it without tar's --sparse"
    return "" if member.isreg() else "a link or device, whose bytes are not in the tar"


def name_in_tar(path: str) -> str:
    """What the header before a clip in a tar calls it, at most 256 bytes; "" for other paths."""
    address = find_pack(path)
    if not isinstance(address, ArchiveAddress) or not address.pack.lower().endswith(".tar"):
        return ""
    try:
        content = _map_pack(address.pack, version_of(address.pack))
        header = bytes(content[max(0, address.offset - _TAR_BLOCK) : address.offset])
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except (AudioError, OSError, tarfile.TarError):
        return ""


def spell_out(path: str, folder: str) -> str:
    """A path below a folder, in which a clip's name in its archive replaces offset and length.

    That of a part ends in the extension of its file: `dawn/12.5-15.25.flac`.
    """
    if find_part(os.path.join(folder, path)):
        file, _, span = path.rpartition("/")
        stem, extension = os.path.splitext(file)
        return f"{stem}/{span}{extension}"
    address = find_pack(os.path.join(folder, path))
    if not isinstance(address, ArchiveAddress):
        return path
    return f"{path.rsplit(':', 2)[0]}/{name_in_archive(address)}"


def name_in_archive(address: ArchiveAddress) -> str:
    """A clip's name in its zip or tar; without one, its offset and length."""
    pack, offset, length = address
    return _archive_names(pack, version_of(pack)).get(offset, f"{offset}-{length}")


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
        raise AudioError(f"{pack}: found an empty file, expected a zip or tar")
    return map_file(pack)


@lru_cache(OPEN_PACKS)
def _archive_names(pack: str, version: Tuple[int, ...]) -> Dict[int, str]:
    members = list_tar(pack) if pack.lower().endswith(".tar") else list_zip(pack)
    return {offset: name for name, offset, *_ in members}
