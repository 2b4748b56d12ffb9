"""Figures as parts of a page, without files beside it."""

import base64
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS_PER_INCH = 96  # in a page
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


class Picture(NamedTuple):
    """An image in a page.

    Attributes:
        source: its data.
        alt: what it shows, for those who cannot see it.
        width: in the pixels of a page.
        is_wide: whether it is moved sideways on a phone rather than made small.
    """

    source: str
    alt: str
    width: int
    is_wide: bool


def embed(figure: "Figure", alt: str, kind: str = "svg", is_wide: bool = True) -> Picture:
    """Turn a figure into a picture.

    Args:
        figure: what to show.
        alt: the same in words.
        kind: "svg" for lines, "png" for spectrograms and many points.
        is_wide: see `Picture`.
    """
    from ..style import render_figure

    data = base64.b64encode(render_figure(figure, kind)).decode()
    width = round(figure.get_figwidth() * _PIXELS_PER_INCH)
    return Picture(f"data:{_TYPES[kind]};base64,{data}", alt, width, is_wide)
