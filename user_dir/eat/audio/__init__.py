"""Sound to network input: decoding, the filter bank."""

from .errors import AudioError
from .log_mel import LogMel, mel_filter_bank, num_frames
from .read import SAMPLE_RATE_HZ, AudioInfo, audio_info, read_audio

__all__ = [
    "SAMPLE_RATE_HZ",
    "AudioError",
    "AudioInfo",
    "LogMel",
    "audio_info",
    "mel_filter_bank",
    "num_frames",
    "read_audio",
]
