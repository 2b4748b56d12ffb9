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

import numpy as np

from .errors import AudioError

RATE_ATTRIBUTE = "sample_rate"
HDF5_ENDINGS = (".h5", ".hdf5")

_ZIP_ADDRESS = re.compile(r"(.+\.zip):([0-9]+):([0-9]+)", re.DOTALL)
_HDF5_ADDRESS = re.compile(r"\.(?:h5|hdf5)(?=/.)", re.DOTALL)
_OPEN_PACKS = 64

# What one sample may be, and the value that stands for 1.0.
_FULL_SCALE = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1, "float64": 1}
_MAX_CHANNELS = 1024  # libsndfile's; more is an array of (channels, samples)


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
    pack = _map_pack(address.pack, _version(address.pack))
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
    _version(pack)
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
    names = _zip_names(address.pack, _version(address.pack))
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


class Hdf5Sound:
    """The samples of an HDF5 address, with those members of `soundfile.SoundFile` that are needed.

    Args:
        address: a one-dimensional data set, or (samples, channels), of 16- or 32-bit integers or
            floating point numbers.
        rate_hz: of data for which neither its attribute `sample_rate` nor the file's says it.

    Raises:
        AudioError: no such data, data of another kind, or no rate.
    """

    format = "HDF5"
    extra_info = ""

    def __init__(self, address: Hdf5Address, rate_hz: Optional[int]) -> None:
        self._name = "/".join(address)
        file = _open_hdf5(address.pack, (*_version(address.pack), os.getpid()))
        data = file.get(address.key)
        if not hasattr(data, "shape"):
            raise AudioError(f"{self._name}: found no data under this key")
        if data.dtype.name not in _FULL_SCALE or not _is_sound(data.shape):
            raise AudioError(
                f"{self._name}: found {data.dtype} of shape {data.shape}, expected int16, int32 or"
                " floating point samples of shape (samples,) or (samples, channels)"
            )
        self._data = data
        self._position = 0
        self.frames = data.shape[0]
        self.channels = data.shape[1] if data.ndim == 2 else 1
        self.samplerate = self._rate_hz(data.attrs.get(RATE_ATTRIBUTE), file, rate_hz)

    def __enter__(self) -> "Hdf5Sound":
        return self

    def __exit__(self, *error: Any) -> None:
        """The pack stays open."""

    def seek(self, frames: int) -> None:
        self._position = frames

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """(n, channels) float32, at most `frames` of them."""
        samples = self._data[self._position : self._position + frames]
        self._position += len(samples)
        full_scale = np.float32(_FULL_SCALE[samples.dtype.name])
        return samples.reshape(-1, self.channels).astype(np.float32) / full_scale

    @property
    def data(self) -> np.ndarray:
        """All samples as they are stored."""
        return self._data[:]

    def _rate_hz(self, stored: Any, file: Any, default: Optional[int]) -> int:
        candidates = (stored, file.attrs.get(RATE_ATTRIBUTE), default)
        found = next((rate for rate in candidates if rate is not None), None)
        if found is None:
            raise AudioError(
                f"{self._name}: found no attribute {RATE_ATTRIBUTE!r} of the data or the file,"
                " expected one, or the rate in hdf5_rate_hz (the released code took 32000)"
            )
        if np.ndim(found) or not float(found).is_integer() or found < 1:
            raise AudioError(
                f"{self._name}: found the sample rate {found!r}, expected a positive whole number"
            )
        return int(found)


def _is_sound(shape: Tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and 1 <= shape[1] <= _MAX_CHANNELS)


def _version(pack: str) -> Tuple[int, ...]:
    """Differs when a pack was written anew: what is open of the old one must not be read."""
    try:
        status = os.stat(pack)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such pack of audio: {pack}") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(_OPEN_PACKS)
def _map_pack(pack: str, version: Tuple[int, ...]) -> memoryview:
    if version[2] == 0:
        raise AudioError(f"{pack}: found an empty file, expected a zip")
    return map_file(pack)


@lru_cache(_OPEN_PACKS)
def _zip_names(pack: str, version: Tuple[int, ...]) -> Dict[int, str]:
    return {offset: name for name, offset, _ in list_zip(pack)}


@lru_cache(_OPEN_PACKS)
def _open_hdf5(pack: str, version: Tuple[int, ...]) -> Any:
    h5py = import_h5py(pack)
    try:
        return h5py.File(pack, "r", locking=False)  # some network file systems have no locks
    except OSError as error:
        raise AudioError(f"{pack}: not readable as HDF5: {error}") from error


def import_h5py(pack: str) -> Any:
    """The library behind HDF5 packs.

    Raises:
        AudioError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise AudioError(f"{pack}: HDF5 needs h5py: pip install 'eat-fairseq[hdf5]'") from error
    return h5py
