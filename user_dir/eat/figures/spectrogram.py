"""Spectrograms with true axes: what figures of clips and of attention share."""

from typing import Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.image import AxesImage

from eat.audio import SAMPLE_RATE_HZ
from eat.audio.log_mel import HIGH_HZ, HOP_SAMPLES, LOW_HZ, hz_to_mel

from .style import SPECTROGRAM_COLOURS

SECONDS_PER_FRAME = HOP_SAMPLES / SAMPLE_RATE_HZ
TICKS_HZ = (125, 250, 500, 1000, 2000, 4000)


def patch_grid(log_mel: np.ndarray, patch_size: int) -> Tuple[int, int]:
    """(H, W) of a (T, F) spectrogram.

    Raises:
        ValueError: T or F is not a multiple of the patch size.
    """
    num_frames, num_bins = log_mel.shape
    if num_frames % patch_size or num_bins % patch_size:
        raise ValueError(
            f"log_mel: found {num_frames} frames x {num_bins} bins, expected multiples of the"
            f" patch size {patch_size}"
        )
    return num_frames // patch_size, num_bins // patch_size


def draw_whole_clip(
    figure: SubFigure, axes: Axes, log_mel: np.ndarray, patch_size: int, title: str
) -> None:
    """One large spectrogram with all its axes, the colour bar and the patch grid."""
    image = draw_spectrogram(axes, log_mel)
    label_frequencies(axes, TICKS_HZ, log_mel.shape[1])
    draw_patch_grid(axes, log_mel.shape, patch_size)
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)")
    axes.set_title(title, parse_math=False)  # file names may hold dollar signs
    bins = axes.secondary_yaxis("right")
    bins.set_yticks(range(0, log_mel.shape[1] + 1, 2 * patch_size))
    bins.set_ylabel("mel bin")
    figure.colorbar(image, ax=axes, label="log energy", pad=0.02)


def draw_spectrogram(axes: Axes, log_mel: np.ndarray) -> AxesImage:
    """(T, F) values over seconds and mel bins."""
    num_frames, num_bins = log_mel.shape
    # The quietest values are the floor of digital silence, which would take half of the colours.
    image = axes.imshow(
        log_mel.T, extent=(0, num_frames * SECONDS_PER_FRAME, 0, num_bins), origin="lower",
        aspect="auto", cmap=SPECTROGRAM_COLOURS, interpolation="nearest",
        vmin=np.percentile(log_mel, 1), vmax=log_mel.max(),
    )  # fmt: skip
    return image


def label_frequencies(axes: Axes, frequencies_hz: Sequence[int], num_bins: int) -> None:
    """Put ticks on an axis of mel bins."""
    axes.set_yticks([mel_bin_of(hz, num_bins) for hz in frequencies_hz], frequencies_hz)


def draw_patch_grid(axes: Axes, shape: Tuple[int, int], patch_size: int) -> None:
    """Thin lines between the patches of a (T, F) spectrogram."""
    num_frames, num_bins = shape
    for frame in range(patch_size, num_frames, patch_size):
        axes.axvline(frame * SECONDS_PER_FRAME, color="white", linewidth=0.5, alpha=0.6)
    for mel_bin in range(patch_size, num_bins, patch_size):
        axes.axhline(mel_bin, color="white", linewidth=0.5, alpha=0.6)


def mel_bin_of(frequency_hz: float, num_mel_bins: int = 128) -> float:
    """Where a frequency lies on an axis of mel bins, bin i reaching from i to i + 1.

    The filters' centres are equally spaced on the mel scale, with one spacing left at each end.
    """
    low, high = hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ)
    share = (hz_to_mel(frequency_hz) - low) / (high - low)
    return share * (num_mel_bins + 1) - 0.5
