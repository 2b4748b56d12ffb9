"""What no use can be made of: recordings that are too short, or hold no numbers."""

import numpy as np

from .errors import AudioError
from .log_mel import WINDOW_SAMPLES

# The power of a spectrum in float32 is infinite from some 1e16 on.
_MAX_AMPLITUDE = 1e15


def check_length(num_samples: int, name: str) -> None:
    """Refuse what is shorter, at 16 kHz, than one frame of a spectrogram."""
    if num_samples < WINDOW_SAMPLES:
        raise AudioError(
            f"{name}: found {num_samples} samples at 16 kHz, expected at least"
            f" {WINDOW_SAMPLES} (25 ms)"
        )


def check_finite(samples: np.ndarray, name: str) -> None:
    """Refuse samples that are no numbers, or so large that their spectrum is infinite."""
    if samples.size == 0:
        return
    low, high = float(samples.min()), float(samples.max())  # NaN if any is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise AudioError(f"{name}: found NaN or infinite samples")
    if max(-low, high) > _MAX_AMPLITUDE:
        raise AudioError(f"{name}: found samples up to {max(-low, high):.2g}, expected [-1, 1]")
