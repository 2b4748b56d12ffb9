"""Figures of training runs and of what the network sees.

Every function takes data and returns a matplotlib `Figure`, without pyplot's global state;
`save_figure` is the one way to write it to disk.
"""

from .clip import draw_clip
from .curves import draw_curves, logged_panels
from .style import save_figure
from .training_log import TrainingLog, parse_log_line, read_training_log

__all__ = [
    "TrainingLog",
    "draw_clip",
    "draw_curves",
    "logged_panels",
    "parse_log_line",
    "read_training_log",
    "save_figure",
]
