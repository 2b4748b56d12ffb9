"""Clips in HDF5 files: samples, with the attribute `sample_rate` of the data or of the file."""

import os
from functools import lru_cache
from typing import Any, Optional, Tuple

import numpy as np

from .errors import AudioError
from .packs import OPEN_PACKS, Hdf5Address, version_of

RATE_ATTRIBUTE = "sample_rate"

# What one sample may be, and the value that stands for 1.0.
FULL_SCALE = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1, "float64": 1}
_MAX_CHANNELS = 1024  # libsndfile's; more is an array of (channels, samples)


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
        file = _open_hdf5(address.pack, (*version_of(address.pack), os.getpid()))
        data = file.get(address.key)
        if not hasattr(data, "shape"):
            raise AudioError(f"{self._name}: found no data under this key")
        if data.dtype.name not in FULL_SCALE or not _is_sound(data.shape):
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
        full_scale = np.float32(FULL_SCALE[samples.dtype.name])
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


@lru_cache(OPEN_PACKS)
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
