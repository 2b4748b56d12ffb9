"""Sound to network input: decoding, resampling, the filter bank."""

from eat.lazy import export

SAMPLE_RATE_HZ = 16_000  # of the front end


class AudioError(ValueError):
    """A file cannot be decoded, or its samples cannot be used; the message says which and why."""


__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "AudioInfo": "read",
        "LogMel": "log_mel",
        "ReadingConfig": "read",
        "audio_info": "read",
        "mel_filter_bank": "log_mel",
        "num_frames": "log_mel",
        "read_audio": "read",
        "scan_audio": "checks",
    },
)
__all__ += ["SAMPLE_RATE_HZ", "AudioError"]
