"""What no use can be made of: recordings that are too short, or hold no numbers."""

import numpy as np

from .errors import AudioError
from .log_mel import WINDOW_SAMPLES


def check_length(num_samples: int, name: str) -> None:
    """Refuse what is shorter, at 16 kHz, than one frame of a spectrogram."""
    if num_samples < WINDOW_SAMPLES:
        raise AudioError(
            f"{name}: found {num_samples} samples at 16 kHz, expected at least"
            f" {WINDOW_SAMPLES} (25 ms)"
        )


def check_finite(samples: np.ndarray, name: str) -> None:
    """Refuse samples that are no numbers, or too large for float32."""
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: found NaN or infinite samples")
