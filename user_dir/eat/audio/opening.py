"""Open what holds samples: audio files, in archives too, with libsndfile, HDF5 data with h5py."""

import os
import re
import sys
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from typing import Any, Callable, ContextManager, Iterator, Optional, Tuple, Union

import numpy as np
import soundfile

from eat.files import url_problem

from . import AudioError
from .packs import (
    OPEN_PACKS,
    ArchiveAddress,
    BytesAsFile,
    Hdf5Address,
    PartAddress,
    archive_bytes,
    find_pack,
    find_part,
    map_file,
    name_in_archive,
    name_in_tar,
    version_of,
)

AudioPath = Union[str, "os.PathLike[str]"]

_NEXT_BYTES = 1 << 16
_OGG_PAGE_BYTES = 27 + 255 + 255 * 255  # at most
CHUNK_FRAMES = 1 << 20  # a header may promise any number of samples: memory grows by what is read

# libsndfile logs when a header promises more bytes of sound than the file has. Recorders that
# cannot go back to fill in the real size write one near the largest number.
_CUT_OFF = re.compile(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
UNKNOWN_BYTES = 0x7FFF_0000
_TOLERATED_BYTES = 1024  # sloppy headers of good files
_MP3_START = re.compile(rb"\0*(?=ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd])")  # tag or frame
_MP3_HEADER = b"\xff\xfb\x90\0"  # of a frame
_NO_FRAME = "not a regular file"  # libsndfile's words for a file that libmpg123 cannot open
_UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's "unknown"
# Interrupted recorders leave 0 as the size of the sound. Matches only if no other chunk follows.
_WITHOUT_SIZE = re.compile(rb"RIFF.{4}WAVE.{,4096}?data\0{4}(?![ -~]{4})(?=.)", re.DOTALL)
_PLAIN_SUBTYPES = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # each sample stands for itself

# HDF5 data: the types a sample may have, and the value that stands for 1.0.
FULL_SCALE = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1, "float64": 1}
_RATE_ATTRIBUTE = "sample_rate"
_MAX_CHANNELS = 1024  # libsndfile's limit; a second axis longer than this is not channels


class SoundFile(soundfile.SoundFile):
    """A file that is decoded without a seek between two reads.

    soundfile seeks after each read, to where the file already is. An mp3 decoder then forgets the
    bytes that the next frame borrows from earlier ones, and that frame becomes noise.
    """

    has_length = True  # False: `frames` is only a guess, and too large
    part: Optional[Tuple[int, int]] = None  # first frame and number of frames, if it is a part

    def seekable(self) -> bool:
        return False

    def next_bytes(self) -> bytes:
        """The first bytes of the file that were not decoded yet; none if that is unknown."""
        if isinstance(self.name, int):
            return os.read(self.name, _NEXT_BYTES)
        return self.name.read(_NEXT_BYTES) if isinstance(self.name, BytesAsFile) else b""

    def is_cut_off(self) -> bool:
        """Whether this is an ogg without the page that ends it; call it last.

        The length of an ogg is where its last page ends: libsndfile misses no other.
        """
        if self.format != "OGG" or isinstance(self.name, bytes):
            return False
        is_open = isinstance(self.name, int)
        with open(self.name, "rb", closefd=False) if is_open else nullcontext(self.name) as file:
            file.seek(-min(_OGG_PAGE_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            tail = file.read(_OGG_PAGE_BYTES)
        page = tail[tail.rfind(b"OggS") :]
        sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
        return not (sizes and page[5] & 4 and len(page) >= 27 + len(sizes) + sum(sizes))

    def go_to(self, frame: int) -> None:
        """Continue at a frame; GSM 6.10 and G.72x cannot seek and are decoded up to there."""
        if super().seekable():
            self.seek(min(frame, self.frames))
        else:
            for _ in read_chunks(self, frame, "int16"):
                pass


class Hdf5Sound:
    """The samples at an HDF5 address, with the members of `SoundFile` that are used.

    `rate_hz` counts if neither the data nor the file has an attribute `sample_rate`.
    """

    format, subtype = "HDF5", ""
    has_length, part = True, None
    next_bytes, is_cut_off = bytes, bool  # none, False

    def __init__(self, address: Hdf5Address, rate_hz: Optional[int]) -> None:
        name = "/".join(address)
        file = _open_hdf5(address.pack, (*version_of(address.pack), os.getpid()))
        data = file.get(address.key)
        if not hasattr(data, "shape"):
            raise AudioError(f"{name}: found no data under this key")
        is_sound = data.ndim == 1 or (data.ndim == 2 and 1 <= data.shape[1] <= _MAX_CHANNELS)
        if data.dtype.name not in FULL_SCALE or not is_sound:
            raise AudioError(
                f"{name}: found {data.dtype} of shape {data.shape}, expected int16, int32 or"
                " 32- or 64-bit floating point samples of shape (samples,) or (samples, channels)"
            )
        self._data = data
        self._position = 0
        self.frames = data.shape[0]
        self.channels = data.shape[1] if data.ndim == 2 else 1
        rates = (data.attrs.get(_RATE_ATTRIBUTE), file.attrs.get(_RATE_ATTRIBUTE), rate_hz)
        found = next((rate for rate in rates if rate is not None), None)
        if found is None:
            raise AudioError(
                f"{name}: found no attribute {_RATE_ATTRIBUTE!r} of the data or the file,"
                " expected one, or the rate in hdf5_rate_hz (the released code took 32000)"
            )
        if np.ndim(found) or not float(found).is_integer() or found < 1:
            raise AudioError(
                f"{name}: found the sample rate {found!r}, expected a positive whole number"
            )
        self.samplerate = int(found)

    def go_to(self, frame: int) -> None:
        self._position = frame

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """(n, channels) float32, n at most `frames`."""
        samples = self._data[self._position : self._position + frames]
        self._position += len(samples)
        full_scale = np.float32(FULL_SCALE[samples.dtype.name])
        return samples.reshape(-1, self.channels).astype(np.float32) / full_scale


Sound = Union[SoundFile, Hdf5Sound]


@lru_cache(OPEN_PACKS)
def _open_hdf5(pack: str, version: Tuple[int, ...]) -> Any:
    try:
        import h5py

        return h5py.File(pack, "r", locking=False)  # some network file systems have no locks
    except ImportError as error:
        raise AudioError(f"{pack}: HDF5 needs h5py: pip install 'eat-fairseq[hdf5]'") from error
    except OSError as error:
        raise AudioError(f"{pack}: not readable as HDF5: {error}") from error


@contextmanager
def open_sound(
    path: AudioPath, hdf5_rate_hz: Optional[int] = None, content: Optional[memoryview] = None
) -> Iterator[Sound]:
    """Open a file, or a clip in a pack, for the length of a `with` block.

    Of a part of a file the whole is opened, and `part` says which frames are meant.

    `content` is the bytes of the file; None reads them from the path. Whatever goes wrong inside
    the block is an AudioError, too.
    """
    name = os.fspath(path)
    address = find_part(name) if content is None else None
    try:
        with _open(address.file if address else name, hdf5_rate_hz, content) as sound:
            if address:
                sound.part = _find_frames(name, address, sound)
            yield sound
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder raises: callers catch one type
        # libsndfile's words, without the name of the file that soundfile puts before them.
        reason = getattr(error, "error_string", error)
        if _NO_FRAME in str(reason):
            reason = "found no frame of an mp3 in the first 64 KB"
        known = isinstance(error, AudioError)
        text = str(error) if known else f"{name}: not readable as audio: {reason}"
        member = name_in_tar(name)
        raise AudioError(f"{text} (it is {member})" if member else text) from error


def _find_frames(name: str, part: PartAddress, sound: SoundFile) -> Tuple[int, int]:
    """The first frame of a part of a file, and how many frames it has."""
    start, stop = (round(seconds * sound.samplerate) for seconds in part[1:])
    if start >= stop or (sound.has_length and stop > sound.frames):
        length = f" of {sound.frames / sound.samplerate:.6g} s" if sound.has_length else ""
        raise AudioError(
            f"{name}: found a part from {part[1]:g} to {part[2]:g} s, expected one that ends after"
            f" its start, inside the file{length}"
        )
    return start, stop - start


def read_chunks(
    sound: Sound,
    num_frames: Optional[int] = None,
    dtype: str = "float32",
    max_frames: int = CHUNK_FRAMES,
) -> Iterator[np.ndarray]:
    """Yield the next `num_frames` frames, (n, channels) at a time; None: all of the file."""
    max_frames = min(max_frames, CHUNK_FRAMES)
    if num_frames is None:
        num_frames = sound.frames if sound.has_length else sys.maxsize
    while num_frames > 0:
        chunk = sound.read(min(num_frames, max_frames), dtype=dtype, always_2d=True)
        if len(chunk) == 0:
            return
        yield chunk
        num_frames -= len(chunk)


def _open(name: str, rate: Optional[int], content: Optional[memoryview]) -> ContextManager[Sound]:
    problem = url_problem(name)
    if problem:
        raise AudioError(f"{name}: {problem}")
    address = find_pack(name) if content is None else None
    if isinstance(address, Hdf5Address):
        return nullcontext(Hdf5Sound(address, rate))  # the pack stays open
    if address:
        content = archive_bytes(address)
    if content is None:
        if not os.path.exists(name):
            raise FileNotFoundError(f"no such audio file: {name}")
        if not os.path.isfile(name):  # opening a pipe would wait for its writer
            raise AudioError(f"{name}: found no regular file, expected an audio file")
        if os.path.getsize(name) == 0:
            raise AudioError(f"{name}: found an empty file, expected an audio file")
        try:
            # The descriptor tells how far it was read.
            return _complete(SoundFile(os.open(name, os.O_RDONLY)), name, None)
        except soundfile.LibsndfileError:
            if not _is_called_mp3(name, None):
                # libsndfile recognises some files by their extension. A name need not be UTF-8.
                return _complete(SoundFile(os.fsencode(name)), name, None)
        content = map_file(name)
    return _complete(_open_bytes(content, partial(_is_called_mp3, name, address)), name, content)


def _open_bytes(content: memoryview, is_mp3: Callable[[], bool], claim: float = 1.0) -> SoundFile:
    """Open the bytes of a file, which claims `claim` times the size that it has.

    libsndfile recognises an mp3 by its first bytes, else by its name, which is missing here: it
    then searches the first 64 KB for a frame.
    """
    start = _MP3_START.match(content)
    content = content[start.end() :] if start else content
    try:
        return SoundFile(BytesAsFile(content, int(claim * len(content))))
    except soundfile.LibsndfileError:
        if not is_mp3():
            raise
    content = memoryview(_MP3_HEADER + bytes(content))
    return SoundFile(BytesAsFile(content, int(claim * len(content))))


def _is_called_mp3(name: str, address: Optional[ArchiveAddress]) -> bool:
    """Whether a file has the extension, or a clip in an archive."""
    with suppress(AudioError):  # of a zip without a directory
        name = name_in_archive(address) if address else name
    return name.lower().endswith(".mp3")


def _complete(sound: SoundFile, name: str, content: Optional[memoryview]) -> SoundFile:
    """The same file, or one that is read to its end where the header does not tell the length.

    A file that is shorter than its header says is refused; libsndfile only logs it.
    """
    try:
        cut_off = _CUT_OFF.search(sound.extra_info)
        promised, found = map(int, cut_off.groups()) if cut_off else (0, 0)
        if found + _TOLERATED_BYTES < promised < UNKNOWN_BYTES:
            raise AudioError(
                f"{name}: cut off: found {found} bytes of sound, expected {promised} by its header"
            )
        if sound.format == "MP3":
            return _all_of_mp3(sound, map_file(name) if content is None else content)
        if sound.frames == 0:
            return _all_of_unsized(sound, name, map_file(name) if content is None else content)
        sound.has_length = sound.frames != _UNKNOWN_FRAMES
        return sound
    except Exception:
        sound.close()
        raise


def _all_of_unsized(sound: SoundFile, name: str, content: memoryview) -> SoundFile:
    """A file without samples by its header, or for a WAV of size 0 all samples behind that."""
    found = _WITHOUT_SIZE.match(content)
    if found and sound.subtype.startswith(_PLAIN_SUBTYPES):
        sound.close()
        file = BytesAsFile(content[found.end() :])
        form = {"samplerate": sound.samplerate, "channels": sound.channels, "format": "RAW"}
        return SoundFile(file, subtype=sound.subtype, endian="LITTLE", **form)
    if len(content) > _TOLERATED_BYTES:
        raise AudioError(
            f"{name}: no samples: the header says 0, but the file has {len(content)} bytes"
        )
    return sound


def _all_of_mp3(sound: SoundFile, content: memoryview) -> SoundFile:
    """The same mp3, or if libsndfile only guesses its length, one that is read to its end.

    Without a LAME or Xing header libsndfile guesses the length from the file's size and the bit
    rate of the first frame, and reads no further, which with a variable rate may be a tenth. It
    has guessed if another length results when the file claims another size. A file that claims a
    very large size is read to its end.
    """
    # Less than 1 % larger: else libsndfile would print that the size does not fit the header.
    with _open_bytes(content, lambda: True, 129 / 128) as longer:
        if longer.frames == sound.frames:
            return sound
    sound.close()
    # 40 times would do: 320 kbit/s in the first frame and 8 in all others.
    sound = _open_bytes(content, lambda: True, 64)
    sound.has_length = False
    return sound
