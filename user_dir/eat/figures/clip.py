"""One clip as the network meets it: spectrogram, patch grid, and what each clone hides."""

from typing import List, Sequence, Tuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from torch import Tensor

from eat.audio import LogMel
from eat.audio.log_mel import hz_to_mel

from .style import HIDDEN_COLOUR, figure_style, make_panels, show_grid

_COLOURS = "magma"
_ROUNDING = 1e-4  # of a log energy that was normalised
_NUM_TICKS = 6
_CLIP_INCHES, _CLONES_INCHES = 3.8, 1.8  # heights of the clip and of a row of clones


@figure_style
def draw_clip(source: Tensor, masks: np.ndarray, log_mel: LogMel, title: str = "A clip") -> Figure:
    """Draw a clip's spectrogram with its patch grid, and below it what each clone shows.

    `source` is (1, 1, T, F), from the front end `log_mel`; `masks` are (K, L) bool, True = hidden,
    time-major as in `eat.nn.masking`.
    """
    height, width = patch_grid(source, log_mel.patch_size)
    if masks.ndim != 2 or masks.shape[1] != height * width:
        raise ValueError(
            f"masks: found shape {masks.shape}, expected (K, {height * width}) for a grid of"
            f" {height} x {width} patches"
        )
    # Up to four clones side by side; those of clips beyond 10 s get a row each to be legible.
    num_columns = min(len(masks), max(1, min(4, 128 // height)))
    heights = (_CLIP_INCHES, _CLONES_INCHES * -(-len(masks) // num_columns))
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    draw_whole_clip(above, above.subplots(), source, log_mel, title)
    below.suptitle(
        f"What the student sees of it: {int((~masks[0]).sum())} of {height * width} patches in"
        " each clone; the grey ones are to be predicted",
        x=0.01, ha="left", fontsize=rcParams["axes.titlesize"],
    )  # fmt: skip
    panels = make_panels(below, len(masks), num_columns, sharex=True, sharey=True)
    for number, (axes, mask) in enumerate(zip(panels, masks, strict=True), start=1):
        spectrogram = _draw_spectrogram(axes, source, log_mel, ticks_hz(log_mel)[1::2])
        hidden = np.ma.masked_equal(mask.reshape(height, width), False)
        extent = spectrogram.get_extent()[1::2]
        show_grid(axes, hidden, extent, cmap=ListedColormap([HIDDEN_COLOUR]))
        axes.set_title(f"clone {number}", fontsize="medium")
    below.supxlabel("time (s)", fontsize="medium")
    below.supylabel("frequency (Hz)", fontsize="medium")
    return figure


def patch_grid(source: Tensor, patch_size: int) -> Tuple[int, int]:
    """(H, W) of a (1, 1, T, F) network input; a ValueError if they are not whole."""
    num_frames, num_bins = source.shape[2:]
    if num_frames % patch_size or num_bins % patch_size:
        raise ValueError(
            f"source: found {num_frames} frames x {num_bins} bins, expected multiples of the patch"
            f" size {patch_size}"
        )
    return num_frames // patch_size, num_bins // patch_size


def draw_whole_clip(
    figure: SubFigure, axes: Axes, source: Tensor, log_mel: LogMel, title: str
) -> None:
    """Draw one large spectrogram with all its axes, the colour bar and the patch grid."""
    image = _draw_spectrogram(axes, source, log_mel, ticks_hz(log_mel))
    _mark_padding(axes, source, log_mel)
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    bins = axes.secondary_yaxis("right")
    bins.set(yticks=range(0, source.shape[3] + 1, 2 * log_mel.patch_size), ylabel="mel bin")
    figure.colorbar(image, ax=axes, label="log energy", pad=0.02)


def count_frames(source: Tensor, log_mel: LogMel) -> int:
    """How many frames of a (1, 1, T, F) input come before its padding, whose log energies are 0."""
    energies = source[0, 0] * (2 * log_mel.std) + log_mel.mean
    is_sound = (energies.abs() > _ROUNDING).any(dim=1)
    return int(is_sound.nonzero().max()) + 1 if is_sound.any() else 0


def _mark_padding(axes: Axes, source: Tensor, log_mel: LogMel) -> None:
    num_frames = count_frames(source, log_mel)
    if num_frames < source.shape[2]:
        end = num_frames * log_mel.frame_seconds
        axes.axvline(end, color="black", linewidth=1.2, linestyle="--")
        axes.annotate(
            f"padding from {end:.2f} s", (1, 1), xycoords="axes fraction", xytext=(0, 2),
            textcoords="offset points", va="bottom", ha="right",
        )  # fmt: skip


def _draw_spectrogram(
    axes: Axes, source: Tensor, log_mel: LogMel, ticks: Sequence[float]
) -> AxesImage:
    """Log energies over seconds and frequencies, with thin lines between the patches."""
    energies = (source[0, 0] * (2 * log_mel.std) + log_mel.mean).cpu().numpy()  # (T, F)
    num_frames, num_bins = energies.shape
    image = show_energies(axes, energies, log_mel, num_frames * log_mel.frame_seconds, ticks)
    for frame in range(log_mel.patch_size, num_frames, log_mel.patch_size):
        axes.axvline(frame * log_mel.frame_seconds, color="white", linewidth=0.5, alpha=0.6)
    for mel_bin in range(log_mel.patch_size, num_bins, log_mel.patch_size):
        axes.axhline(mel_bin, color="white", linewidth=0.5, alpha=0.6)
    return image


def show_energies(
    axes: Axes, energies: np.ndarray, log_mel: LogMel, end_of_time: float, ticks: Sequence[float]
) -> AxesImage:
    """Draw (T, F) log energies over seconds and frequencies."""
    # The quietest values are the floor of digital silence, which would take half of the colours.
    limits = {"vmin": np.percentile(energies, 1), "vmax": energies.max()}
    axes.set_yticks([mel_bin_of(hz, log_mel) for hz in ticks], [f"{hz:g}" for hz in ticks])
    return show_grid(axes, energies, (end_of_time, energies.shape[1]), cmap=_COLOURS, **limits)


def ticks_hz(log_mel: LogMel) -> List[float]:
    """The highest octaves of 125 Hz within the filters' range, in frequencies of the recording."""
    octaves = (125 * 2.0**number for number in range(-8, 16))
    inside = [hz for hz in octaves if log_mel.low_hz < hz * log_mel.speed < log_mel.top_hz]
    return inside[-_NUM_TICKS:]


def mel_bin_of(frequency_hz: float, log_mel: LogMel) -> float:
    """Where a frequency of a recording lies on an axis of mel bins, bin i from i to i + 1.

    The filters' centres are equally spaced on the mel scale, with one spacing left at each end.
    """
    low, high = hz_to_mel(log_mel.low_hz), hz_to_mel(log_mel.top_hz)
    share = (hz_to_mel(frequency_hz * log_mel.speed) - low) / (high - low)
    return share * (log_mel.num_mel_bins + 1) - 0.5
