"""Sound to network input: decoding, resampling, the filter bank."""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "SAMPLE_RATE_HZ": "read",
        "AudioError": "errors",
        "AudioInfo": "read",
        "LogMel": "log_mel",
        "audio_info": "read",
        "mel_filter_bank": "log_mel",
        "num_frames": "log_mel",
        "read_audio": "read",
    },
)
