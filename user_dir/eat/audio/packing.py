"""Write zip packs of audio files; what was written is compared with the files before it counts."""

import zipfile
import zlib
from typing import BinaryIO, List

from . import AudioError
from .opening import open_sound
from .packs import Hdf5Address, archive_bytes, find_pack, find_part, list_zip, map_file


class ZipPack:
    """Audio files as they are, in an uncompressed zip: `add` what `load` gives, then `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._archive = zipfile.ZipFile(file, "w")
        self._checksums: List[int] = []

    @staticmethod
    def load(path: str) -> memoryview:
        """The bytes of an audio file, or of one in another zip or a tar."""
        address = find_pack(path)
        if isinstance(address, Hdf5Address):
            raise AudioError(f"{path}: found HDF5 data, expected an audio file: a zip holds files")
        if find_part(path):
            raise AudioError(f"{path}: found a part of a file, expected a whole one: pack the file")
        with open_sound(path):
            return archive_bytes(address) if address else map_file(path)

    @property
    def num_bytes(self) -> int:
        """The size of the pack so far."""
        return self._file.tell()

    def add(self, name: str, content: memoryview) -> None:
        """Add an audio file; an AudioError if only its extension tells libsndfile the format."""
        with open_sound(name, content=content):
            self._checksums.append(zlib.crc32(content))
        info = zipfile.ZipInfo(name)
        info.file_size = len(content)
        with self._archive.open(info, "w") as member:
            member.write(content)

    def close(self) -> None:
        """Write the directory of the zip."""
        self._archive.close()

    def finish(self) -> None:
        """Close the pack and read it again; an AudioError if it differs from the files."""
        self.close()
        self._file.flush()
        content = map_file(self._file.name)
        places = list_zip(self._file.name)
        for (name, offset, length), checksum in zip(places, self._checksums, strict=True):
            if zlib.crc32(content[offset : offset + length]) != checksum:
                raise AudioError(
                    f"{name}: found other bytes in the pack than in the file, expected the same:"
                    " is the disk damaged, or did the file change?"
                )
