"""What sounds when in a recording: its events above its spectrogram."""

from dataclasses import replace
from typing import Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from eat.audio import LogMel
from eat.evaluation import Detection
from eat.features import Pipeline, TokenLayout
from eat.features.recordings import FileRecording

from .clip import show_energies, ticks_hz
from .style import LINE_COLOURS, add_note, figure_style, shorten

_MAX_CLASSES = 25
_MAX_CHARACTERS = 30
_MAX_COLUMNS = 10_000  # of a spectrogram that shows each frame; else a column is a row of patches


class _Energies:
    """The log energies of a recording, averaged over time: a token is a column (F,)."""

    def __init__(self, log_mel: LogMel, num_columns: int) -> None:
        self.layout = TokenLayout(0, num_columns)
        self._log_mel = log_mel

    def __call__(self, source: Tensor, lengths: object) -> Tensor:
        """(B, 1, T, F) -> (B, columns, F)."""
        num_columns = source.shape[2] // self._log_mel.patch_size * self.layout.tokens_per_row
        means = source.squeeze(1).unflatten(1, (num_columns, -1)).mean(dim=2)
        return means * (2 * self._log_mel.std) + self._log_mel.mean


def _read_energies(path: str, log_mel: LogMel) -> Tuple[np.ndarray, float]:
    """(columns, F) log energies of a recording, and the time of the last column's end."""
    log_mel = replace(log_mel, target_length=None)
    num_rows = FileRecording(path, log_mel).num_samples / log_mel.reading_rate_hz
    num_rows /= log_mel.step_seconds
    num_columns = log_mel.patch_size if log_mel.patch_size * num_rows <= _MAX_COLUMNS else 1
    (result,) = Pipeline(log_mel).run([path], _Energies(log_mel, num_columns))
    if result.error is not None:
        raise result.error
    energies = result.tokens.numpy()
    return energies, len(energies) / num_columns * log_mel.step_seconds


@figure_style
def draw_timeline(path: str, events: Sequence[Detection], log_mel: LogMel) -> Figure:
    """Draw the events of a recording, a row for each class, above its spectrogram.

    Of more than 25 classes those that are there longest are shown. `events` have the names of
    their classes; the darker, the higher the score.
    """
    energies, end = _read_energies(path, log_mel)
    lengths = dict.fromkeys((event.label for event in events), 0.0)
    for event in events:
        lengths[event.label] += event.offset - event.onset
    shown = sorted(lengths, key=lengths.__getitem__, reverse=True)[:_MAX_CLASSES]
    heights = (max(1.0, 0.3 * len(shown)), 3.5)
    figure = Figure(figsize=(12, sum(heights) + 0.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    for event in events:
        if event.label in shown:
            bar, row = (event.onset, event.offset - event.onset), shown.index(event.label)
            look = {"color": LINE_COLOURS[row % 6], "alpha": 0.25 + 0.75 * event.score}
            above.broken_barh([bar], (row - 0.4, 0.8), **look, linewidth=0)
    names = [shorten(str(label), _MAX_CHARACTERS) for label in shown]
    above.set_yticks(range(len(shown)), names, fontsize="small")
    above.set(ylim=(len(shown) - 0.4, -0.6))
    above.grid(True, axis="x")
    image = show_energies(below, energies, log_mel, end, ticks_hz(log_mel))
    below.set(xlabel="time (s)", ylabel="frequency (Hz)", xlim=(0, end))
    figure.colorbar(image, ax=below, label="log energy", pad=0.02)
    left_out = len(lengths) - len(shown)
    more = f"; {left_out} classes that are there for less time are left out" if left_out else ""
    add_note(figure, f"{path}: {len(events)} events of {len(lengths)} classes{more}")
    return figure
