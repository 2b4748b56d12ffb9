"""How clips of a data set are read, as a config says it."""

from dataclasses import dataclass, field
from typing import Optional

CROPS = ("start", "random")


@dataclass
class ReadingConfig:
    """Which part of a clip is read, and what its file does not tell."""

    crop: str = field(
        default="start",
        metadata={
            "help": "what is read of clips longer than target_length: start, or random, another"
            " part in every epoch; validation always reads the start (released: start)"
        },
    )
    hdf5_rate_hz: Optional[int] = field(
        default=None,
        metadata={
            "help": "sample rate of clips in HDF5 packs that have no attribute sample_rate"
            " (released: 32000)"
        },
    )

    def check(self) -> None:
        """Raise a ValueError for impossible values."""
        if self.crop not in CROPS:
            raise ValueError(f"task.crop: found {self.crop!r}, expected one of {CROPS}")
        if self.hdf5_rate_hz is not None and self.hdf5_rate_hz < 1:
            raise ValueError(
                f"task.hdf5_rate_hz: found {self.hdf5_rate_hz}, expected 1 or more, or null"
            )
