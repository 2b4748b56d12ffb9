"""Every picture, and the report page: made here once, used by commands, report and TensorBoard.

Functions take data and return a matplotlib `Figure`, without pyplot's global state; `save_figure`
is the one way to write it to disk.
"""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "draw_clip": "clip",
        "draw_curves": "curves",
        "logged_panels": "curves",
        "save_figure": "style",
    },
)
