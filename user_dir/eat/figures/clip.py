"""One clip as the network meets it: spectrogram, patch grid, and what each clone hides."""

from typing import Sequence, Tuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage

from ..audio.log_mel import HIGH_HZ, HOP_SAMPLES, LOW_HZ, hz_to_mel
from ..audio.read import SAMPLE_RATE_HZ
from .style import HIDDEN_COLOUR, SPECTROGRAM_COLOURS, figure_style

_SECONDS_PER_FRAME = HOP_SAMPLES / SAMPLE_RATE_HZ
_TICKS_HZ = (125, 250, 500, 1000, 2000, 4000)
_CLIP_INCHES, _CLONES_INCHES = 3.8, 1.8  # heights of the clip and of a row of clones


@figure_style
def draw_clip(
    log_mel: np.ndarray, masks: np.ndarray, patch_size: int = 16, title: str = "One clip"
) -> Figure:
    """Draw a clip's spectrogram with its patch grid, and below it what each clone shows.

    Args:
        log_mel: (T, F), normalised or not.
        masks: (K, L) bool, True = hidden, time-major as in `eat.nn.masking`.
        patch_size: P.
        title: what to write above.

    Raises:
        ValueError: T or F is not a multiple of P, or L is not their number of patches.
    """
    grid = _grid(log_mel, masks, patch_size)
    # Up to four clones side by side; those of clips beyond 10 s get a row each to be legible.
    num_columns = min(len(masks), max(1, min(4, 128 // grid[0])))
    num_rows = -(-len(masks) // num_columns)
    heights = (_CLIP_INCHES, _CLONES_INCHES * num_rows)
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    _draw_whole_clip(above, log_mel, patch_size, title)
    _draw_clones(below, log_mel, masks.reshape(-1, *grid), (num_rows, num_columns))
    return figure


def _grid(log_mel: np.ndarray, masks: np.ndarray, patch_size: int) -> Tuple[int, int]:
    num_frames, num_bins = log_mel.shape
    if num_frames % patch_size or num_bins % patch_size:
        raise ValueError(
            f"log_mel: found {num_frames} frames x {num_bins} bins, expected multiples of the"
            f" patch size {patch_size}"
        )
    grid = num_frames // patch_size, num_bins // patch_size
    if masks.ndim != 2 or masks.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"masks: found shape {masks.shape}, expected (K, {grid[0] * grid[1]}) for a grid of"
            f" {grid[0]} x {grid[1]} patches"
        )
    return grid


def _draw_whole_clip(figure: SubFigure, log_mel: np.ndarray, patch_size: int, title: str) -> None:
    axes = figure.subplots()
    image = _draw_spectrogram(axes, log_mel)
    _label_frequencies(axes, _TICKS_HZ, log_mel.shape[1])
    _draw_patch_grid(axes, log_mel.shape, patch_size)
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)")
    axes.set_title(title, parse_math=False)  # file names may hold dollar signs
    bins = axes.secondary_yaxis("right")
    bins.set_yticks(range(0, log_mel.shape[1] + 1, 2 * patch_size))
    bins.set_ylabel("mel bin")
    figure.colorbar(image, ax=axes, label="log energy", pad=0.02)


def _draw_clones(
    figure: SubFigure, log_mel: np.ndarray, masks: np.ndarray, layout: Tuple[int, int]
) -> None:
    num_visible, num_patches = int((~masks[0]).sum()), masks[0].size
    figure.suptitle(
        f"What the student sees of it: {num_visible} of {num_patches} patches in each clone;"
        " the grey ones are to be predicted",
        x=0.01, ha="left", fontsize=rcParams["axes.titlesize"],
    )  # fmt: skip
    all_axes = list(figure.subplots(*layout, sharex=True, sharey=True, squeeze=False).flat)
    for number, (axes, mask) in enumerate(zip(all_axes, masks, strict=False), start=1):
        image = _draw_spectrogram(axes, log_mel)
        hidden = np.ma.masked_equal(mask.T, False)
        axes.imshow(
            hidden, extent=image.get_extent(), origin="lower", aspect="auto",
            cmap=ListedColormap([HIDDEN_COLOUR]), interpolation="nearest",
        )  # fmt: skip
        _label_frequencies(axes, _TICKS_HZ[1::2], log_mel.shape[1])
        _draw_patch_grid(axes, log_mel.shape, log_mel.shape[1] // mask.shape[1])
        axes.set_title(f"clone {number}", fontsize="medium")
    for unused in all_axes[len(masks) :]:
        unused.remove()
    figure.supxlabel("time (s)", fontsize="medium")
    figure.supylabel("frequency (Hz)", fontsize="medium")


def _draw_spectrogram(axes: Axes, log_mel: np.ndarray) -> AxesImage:
    num_frames, num_bins = log_mel.shape
    # The quietest values are the floor of digital silence, which would take half of the colours.
    image = axes.imshow(
        log_mel.T, extent=(0, num_frames * _SECONDS_PER_FRAME, 0, num_bins), origin="lower",
        aspect="auto", cmap=SPECTROGRAM_COLOURS, interpolation="nearest",
        vmin=np.percentile(log_mel, 1), vmax=log_mel.max(),
    )  # fmt: skip
    return image


def _label_frequencies(axes: Axes, frequencies_hz: Sequence[int], num_bins: int) -> None:
    axes.set_yticks([mel_bin_of(hz, num_bins) for hz in frequencies_hz], frequencies_hz)


def _draw_patch_grid(axes: Axes, shape: Tuple[int, int], patch_size: int) -> None:
    num_frames, num_bins = shape
    for frame in range(patch_size, num_frames, patch_size):
        axes.axvline(frame * _SECONDS_PER_FRAME, color="white", linewidth=0.5, alpha=0.6)
    for mel_bin in range(patch_size, num_bins, patch_size):
        axes.axhline(mel_bin, color="white", linewidth=0.5, alpha=0.6)


def mel_bin_of(frequency_hz: float, num_mel_bins: int = 128) -> float:
    """Where a frequency lies on an axis of mel bins, bin i reaching from i to i + 1.

    The filters' centres are equally spaced on the mel scale, with one spacing left at each end.
    """
    low, high = hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ)
    share = (hz_to_mel(frequency_hz) - low) / (high - low)
    return share * (num_mel_bins + 1) - 0.5
