"""Sound to network input: decoding, resampling, the filter bank."""

from eat.lazy import export

SAMPLE_RATE_HZ = 16_000  # of the front end, unless it is set


class AudioError(ValueError):
    """A file cannot be decoded, or its samples cannot be used; the message says which and why."""


_EXPORTS = {
    "checks": ("scan_audio",),
    "log_mel": ("LogMel",),
    "ranges": ("RangeConfig", "RateConfig"),
    "read": ("AudioInfo", "ReadingConfig", "audio_info", "read_audio"),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
__all__ += ["SAMPLE_RATE_HZ", "AudioError"]
