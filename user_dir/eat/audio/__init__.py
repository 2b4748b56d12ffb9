"""Sound to network input: decoding, resampling, the filter bank."""

from eat.lazy import export

SAMPLE_RATE_HZ = 16_000  # of the front end, unless it is set


class AudioError(ValueError):
    """A file cannot be decoded, or its samples cannot be used; the message says which and why."""


__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "AudioInfo": "read",
        "LogMel": "log_mel",
        "RangeConfig": "ranges",
        "RateConfig": "ranges",
        "ReadingConfig": "read",
        "audio_info": "read",
        "read_audio": "read",
        "scan_audio": "checks",
    },
)
__all__ += ["SAMPLE_RATE_HZ", "AudioError"]
