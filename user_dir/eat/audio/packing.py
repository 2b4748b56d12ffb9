"""Make packs, see packs.py: what is written is what was read, and is compared before it counts.

with replace_file("train-00000.zip") as file:
    pack = ZipPack(file)
    for path in paths:
        pack.add(path, pack.load(path))
    pack.finish()
"""

import os
import zipfile
import zlib
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional

import numpy as np
import soundfile

from .errors import AudioError
from .hdf5 import RATE_ATTRIBUTE, import_h5py
from .opening import SoundFile, open_bytes, open_sound, reason_of
from .packs import Hdf5Address, find_pack, list_zip, map_file, spell_out, zip_bytes

_CHUNK_FRAMES = 1 << 20

# Integers that hold the samples of a file to the bit; all others are decoded to float32.
_DTYPES = {"PCM_S8": "int16", "PCM_U8": "int16", "PCM_16": "int16", "PCM_24": "int32"}
_DTYPES["PCM_32"] = "int32"


class File(NamedTuple):
    """An audio file."""

    content: memoryview
    checksum: int


class Samples(NamedTuple):
    """What an audio file holds: (n,) or (n, channels)."""

    content: np.ndarray
    sample_rate_hz: int


class ZipPack:
    """Audio files as they are, in an uncompressed zip."""

    ending = ".zip"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._archive = zipfile.ZipFile(file, "w")
        self._checksums: List[int] = []

    @staticmethod
    def load(path: str, hdf5_rate_hz: Optional[int] = None) -> File:
        """Read a file, or a file in another zip.

        Raises:
            FileNotFoundError, AudioError: it cannot be read, is no audio, or is no file.
        """
        with open_sound(path, hdf5_rate_hz):
            address = find_pack(path)
        if isinstance(address, Hdf5Address):
            raise AudioError(f"{path}: found samples, which are no file, expected --format hdf5")
        content = zip_bytes(address) if address else map_file(path)
        return File(content, zlib.crc32(content))

    @property
    def num_bytes(self) -> int:
        """The size of the pack so far."""
        return self._file.tell()

    def add(self, name: str, file: File) -> None:
        """Put a file into the pack.

        Raises:
            AudioError: libsndfile knows it by the ending of its name only, which it has not here.
        """
        open_bytes(file.content, name).close()
        info = zipfile.ZipInfo(name)
        info.file_size = len(file.content)
        with self._archive.open(info, "w") as member:
            member.write(file.content)
        self._checksums.append(file.checksum)

    def close(self) -> None:
        """Nothing more is put into the pack."""
        self._archive.close()

    def finish(self) -> None:
        """Close the pack, and compare what is in it with what was put there.

        Raises:
            AudioError: it differs.
        """
        self.close()
        self._file.flush()
        content = map_file(self._file.name)
        places = list_zip(self._file.name)
        for (name, offset, length), checksum in zip(places, self._checksums, strict=True):
            _compare(name, zlib.crc32(content[offset : offset + length]), checksum)

    @staticmethod
    def members(pack: str) -> Dict[str, str]:
        """The names of the clips in a finished pack, and what their addresses add to its own."""
        return {name: f":{offset}:{length}" for name, offset, length in list_zip(pack)}


class Hdf5Pack:
    """Samples at their own rate, in an HDF5 file: integers if the file has such, else float32."""

    ending = ".h5"

    def __init__(self, file: BinaryIO) -> None:
        self._name = file.name
        self._pack = import_h5py(file.name).File(file.name, "w", locking=False)
        self._checksums: Dict[str, int] = {}
        self.num_bytes = 0

    @staticmethod
    def load(path: str, hdf5_rate_hz: Optional[int] = None) -> Samples:
        """Decode a file or a clip in another pack, at its own rate.

        Raises:
            FileNotFoundError, AudioError: it cannot be read, or holds no samples.
        """
        with open_sound(path, hdf5_rate_hz) as sound:
            samples = _decode(sound, path) if isinstance(sound, SoundFile) else sound.data
        if samples.size == 0:
            raise AudioError(f"{path}: no samples")
        return Samples(samples, sound.samplerate)

    def add(self, name: str, samples: Samples) -> None:
        """Put samples into the pack."""
        data = self._pack.create_dataset(name, data=samples.content)
        data.attrs[RATE_ATTRIBUTE] = samples.sample_rate_hz
        self._checksums[name] = _checksum(samples.content)
        self.num_bytes += samples.content.nbytes

    def close(self) -> None:
        """Nothing more is put into the pack."""
        self._pack.close()

    def finish(self) -> None:
        """Close the pack, and compare what is in it with what was put there.

        Raises:
            AudioError: it differs.
        """
        self.close()
        with import_h5py(self._name).File(self._name, "r", locking=False) as pack:
            for name, checksum in self._checksums.items():
                _compare(name, _checksum(pack[name][:]), checksum)

    @staticmethod
    def members(pack: str) -> Dict[str, str]:
        """The names of the clips in a finished pack, and what their addresses add to its own."""
        names: Dict[str, str] = {}

        def add(name: str, item: Any) -> None:
            if hasattr(item, "shape"):
                names[name] = f"/{name}"

        with import_h5py(pack).File(pack, "r", locking=False) as file:
            file.visititems(add)
        return names


PACKS = {"zip": ZipPack, "hdf5": Hdf5Pack}


def member_name(path: str, folder: str) -> str:
    """What a clip at a path below a folder is called in a pack: this path in UTF-8, normalised.

    One that is in a zip already keeps the name that it has there.
    """
    return os.fsencode(os.path.normpath(spell_out(path, folder))).decode(errors="replace")


def _decode(sound: SoundFile, path: str) -> np.ndarray:
    dtype = _DTYPES.get(sound.subtype, "float32")
    chunks = [np.empty((0, sound.channels), dtype)]
    try:
        while True:
            chunk = sound.read(_CHUNK_FRAMES, dtype=dtype, always_2d=True)
            if len(chunk) == 0:
                break
            chunks.append(chunk)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: cannot decode: {reason_of(error)}") from error
    samples = np.concatenate(chunks)
    return samples[:, 0] if samples.shape[1] == 1 else samples


def _checksum(samples: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(samples).view(np.uint8))


def _compare(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise AudioError(
            f"{name}: found other bytes in the pack than in the file, expected the same: is the"
            " disk damaged, or did the file change?"
        )
