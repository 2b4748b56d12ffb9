"""Open audio files, and clips in packs, with libsndfile."""

import os
import re
from typing import Optional, Union

import soundfile

from .errors import AudioError
from .hdf5 import Hdf5Sound
from .packs import BytesAsFile, Hdf5Address, find_pack, map_file, zip_bytes

# In libsndfile's log of a header whose chunk of sound is longer than the file. A size near the
# largest number is what recorders write that cannot go back to fill in the real one.
_CUT_OFF = re.compile(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_BYTES = 0x7FFF_0000
_TOLERATED_BYTES = 1024  # sloppy headers of good files

_UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's; it cannot read such a stream to its end

AudioPath = Union[str, "os.PathLike[str]"]


class SoundFile(soundfile.SoundFile):
    """A file that is read on from where it is.

    soundfile seeks after each read, to where the file is already. An mp3 decoder forgets then what
    the next frame borrows from the last ones, and that frame is noise.
    """

    has_length = True  # False: `frames` is but a guess, too large

    def seekable(self) -> bool:
        return False

    @property
    def can_seek(self) -> bool:
        """Whether `seek` works; in GSM 6.10 and G.72x it does not."""
        return super().seekable()


Sound = Union[SoundFile, Hdf5Sound]


def open_sound(path: AudioPath, hdf5_rate_hz: Optional[int] = None) -> Sound:
    """Open a file, or a clip in a pack.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: it is not readable as audio.
    """
    path = os.fspath(path)
    address = find_pack(path)
    if isinstance(address, Hdf5Address):
        return Hdf5Sound(address, hdf5_rate_hz)
    if address:
        return open_bytes(zip_bytes(address), path)
    if not os.path.isfile(path):
        if not os.path.exists(path):
            raise FileNotFoundError(f"no such audio file: {path}")
        # A pipe would be waited for.
        raise AudioError(f"{path}: found no regular file, expected an audio file")
    sound = _open(_file_name(path), path)
    return _with_all_frames(sound, map_file(path)) if sound.format == "MP3" else sound


def open_bytes(content: memoryview, name: str) -> SoundFile:
    """Open what the bytes of an audio file are; an AudioError if that is nothing."""
    sound = _open(BytesAsFile(content), name)
    return _with_all_frames(sound, content) if sound.format == "MP3" else sound


def _open(file: Union[str, bytes, BytesAsFile], name: str) -> SoundFile:
    try:
        sound = SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: not readable as audio: {reason_of(error)}") from error
    if sound.frames == _UNKNOWN_FRAMES:
        sound.close()
        raise AudioError(
            f"{name}: found a stream of unknown length, expected a finished file (re-encode it)"
        )
    try:
        _check_complete(sound, name)
    except AudioError:
        sound.close()
        raise
    return sound


def _check_complete(sound: Sound, name: str) -> None:
    """Refuse a file whose header promises more sound than there is: libsndfile only logs it."""
    cut_off = _CUT_OFF.search(sound.extra_info)
    if cut_off is None:
        return
    promised, found = map(int, cut_off.groups())
    if found + _TOLERATED_BYTES < promised < _UNKNOWN_BYTES:
        raise AudioError(
            f"{name}: cut off: found {found} bytes of sound, expected {promised} by its header"
        )


def _with_all_frames(mp3: SoundFile, content: memoryview) -> SoundFile:
    """The same mp3, or one that can be read to its end where its length is only a guess.

    Without a header of LAME's kind libsndfile guesses the length from the file's size and the bit
    rate of the first frame, and reads no further, which of a variable rate may be a tenth. Whether
    it guesses shows when the file claims another size; when it claims a very large one, the guess
    stops nothing.
    """
    size = len(content)
    # Not by 1 %: libsndfile would then print that the size does not fit the header.
    with SoundFile(BytesAsFile(content, size + size // 128)) as longer:
        if longer.frames == mp3.frames:
            return mp3
    mp3.close()
    # 320 kbit/s of the first frame against 8 of the others is 40.
    sound = SoundFile(BytesAsFile(content, 64 * size))
    sound.has_length = False
    return sound


def _file_name(path: str) -> Union[str, bytes]:
    """What libsndfile opens: the bytes of a name, which need not be UTF-8."""
    return os.fsencode(path) if os.name == "posix" else path


def reason_of(error: Exception) -> str:
    """libsndfile's words, without the name of the file that soundfile puts before them."""
    return str(getattr(error, "error_string", error))
