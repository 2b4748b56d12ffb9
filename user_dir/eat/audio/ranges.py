"""Settings of the front end that say which sound it sees; `eat.LogMel` checks and uses them."""

from dataclasses import dataclass
from typing import Optional

from eat.settings import setting

from . import SAMPLE_RATE_HZ

WINDOW_MS = 25  # what a frame covers


@dataclass
class RateConfig:
    """What decides how many samples a recording has for the front end, and how many frames."""

    sample_rate_hz: int = setting(
        "sample rate of the front end: recordings are resampled to it, and half of it is the"
        " highest frequency that can be seen (released: 16000)",
        SAMPLE_RATE_HZ,
    )
    hop_ms: float = setting(
        "from a frame to the next, at most 25, the length of one (released: 10)", 10.0
    )
    speed: float = setting(
        "how fast recordings are played: at 0.1 a second is taken as ten, and 60 kHz as 6 kHz (for"
        " bats; above 1 for whales); recordings are read at sample_rate_hz / speed",
        1.0,
    )


@dataclass
class RangeConfig(RateConfig):
    """Those, and the frequencies of the mel filters."""

    low_hz: float = setting(
        "lowest frequency of the mel filters, after a change of speed (released: 20)", 20.0
    )
    high_hz: Optional[float] = setting(
        "highest frequency of the mel filters, after a change of speed; null: half of"
        " sample_rate_hz (released: null, 8000)",
        None,
    )
