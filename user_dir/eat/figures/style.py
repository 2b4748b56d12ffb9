"""The look of all figures, and how they are saved."""

import io
import textwrap
from pathlib import Path
from typing import Any, List, Sequence, Tuple, Union

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from eat.files import FilePath, write_file

# Okabe and Ito's palette, which people with any of the common colour-blindnesses can tell apart;
# ordered so that the first ones also differ in lightness. Its yellow is too pale for thin lines.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SHARE_COLOURS = "cividis"  # made for colour-blind eyes
HIDDEN_COLOUR = "#c8c8c8"
_NOTE_COLOUR = "#404040"

# Used as a decorator of every drawing function: matplotlib's settings are global, and a user's
# own are put back afterwards.
figure_style = matplotlib.rc_context(
    {
        "figure.dpi": 100,
        "savefig.dpi": 150,
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "axes.labelsize": 11,
        "figure.titlesize": 14,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": "#e0e0e0",
        "lines.linewidth": 1.8,
        # Names of files and classes may hold dollar signs.
        "text.parse_math": False,
        # The same data give the same file: by default its ids are random.
        "svg.hashsalt": "eat",
    }
)


def make_panels(
    figure: Union[Figure, SubFigure], number: int, num_columns: int, **settings: Any
) -> List[Axes]:
    """So many axes of equal size, in rows of `num_columns`; `settings` are those of `subplots`."""
    rows = figure.subplots(-(-number // num_columns), num_columns, squeeze=False, **settings)
    panels = list(rows.flat)
    for unused in panels[number:]:
        unused.remove()
    return panels[:number]


def add_note(figure: Figure, text: str) -> None:
    """Write a sentence or two about a figure above it."""
    lines = textwrap.fill(text, round(13 * figure.get_figwidth()))  # as many letters to an inch
    figure.suptitle(lines, x=0.01, ha="left", fontsize="small", color=_NOTE_COLOUR)


def show_grid(axes: Axes, values: np.ndarray, extent: Sequence[float], **colours: Any) -> AxesImage:
    """Draw (time, frequency) values with time to the right up to extent[0], frequency upwards."""
    return axes.imshow(
        values.T, extent=(0, extent[0], 0, extent[1]), origin="lower", aspect="auto",
        interpolation="nearest", **colours,
    )  # fmt: skip


def show_patches(axes: Axes, values: np.ndarray, end_of_time: float, **colours: Any) -> AxesImage:
    """Draw one (H, W) value per patch, with at most five ticks along the frequency."""
    width = values.shape[1]
    axes.set_yticks(range(0, width + 1, max(1, width // 4)))
    return show_grid(axes, values, (end_of_time, width), **colours)


def shorten(label: str, max_characters: int) -> str:
    """A label of at most so many characters, with both of its ends: paths often begin alike."""
    if len(label) <= max_characters:
        return label
    start = (max_characters - 1) // 3
    return f"{label[:start]}…{label[start + 1 - max_characters :]}"


def make_drawable(figure: Figure) -> None:
    """Write bytes of names that are not UTF-8 as escapes: matplotlib cannot draw them."""
    for text in figure.findobj(Text):
        text.set_text(text.get_text().encode(errors="backslashreplace").decode())


@figure_style
def render_figure(figure: Figure, kind: str) -> bytes:
    """The content of a file with a figure, "png" or "svg"; equal figures give equal bytes."""
    make_drawable(figure)
    buffer = io.BytesIO()
    # An SVG holds the time of writing unless told otherwise; a PNG never does.
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {})
    return buffer.getvalue()


def save_figure(figure: Figure, path: FilePath) -> Tuple[Path, Path]:
    """Write a figure as PNG and as SVG, each only when it is complete; returns both paths.

    The given path may end in `.png` or `.svg`; its folder is created if needed.
    """
    stem = Path(path)
    if stem.suffix in (".png", ".svg"):
        stem = stem.with_suffix("")
    png, svg = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    for file_path in (png, svg):
        write_file(file_path, render_figure(figure, file_path.suffix[1:]))
    return png, svg
