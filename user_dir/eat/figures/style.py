"""The look of all figures, and how they are saved."""

import io
import os
from pathlib import Path
from typing import Tuple, Union

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from eat.files import replace_file

# Okabe and Ito's palette, which people with any of the common colour-blindnesses can tell apart;
# ordered so that the first ones also differ in lightness. Its yellow is too pale for thin lines.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SPECTROGRAM_COLOURS = "magma"
HIDDEN_COLOUR = "#c8c8c8"

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
        # The same data give the same file: by default its ids are random.
        "svg.hashsalt": "eat",
    }
)


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
    """A figure as the content of a file, of kind "png" or "svg"; the same data give the same."""
    # An SVG holds the time of writing unless told otherwise; a PNG never does.
    metadata = {"Date": None} if kind == "svg" else {}
    make_drawable(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def save_figure(figure: Figure, path: Union[str, "os.PathLike[str]"]) -> Tuple[Path, Path]:
    """Write a figure as PNG and as SVG; each file appears only when it is complete.

    Args:
        figure: what to write.
        path: where, with or without `.png` or `.svg`. Its folder is created if needed.

    Returns:
        The paths of the PNG and the SVG.
    """
    stem = Path(path)
    if stem.suffix in (".png", ".svg"):
        stem = stem.with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    return _save(figure, stem, "png"), _save(figure, stem, "svg")


def _save(figure: Figure, stem: Path, kind: str) -> Path:
    path = stem.with_name(f"{stem.name}.{kind}")
    with replace_file(path) as file:
        file.write(render_figure(figure, kind))
    return path
