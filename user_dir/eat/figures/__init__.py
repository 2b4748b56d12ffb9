"""Every picture, and the report page: made here once, used by commands, report and TensorBoard.

Functions take data and return a matplotlib `Figure`, without pyplot's global state; `save_figure`
is the one way to write it to disk.
"""

from eat.lazy import export

MAPPING_METHODS = ("pca", "tsne")  # of `draw_map`
MIN_MAPPED_CLIPS = 3

_EXPORTS = {
    "attention": ("draw_layer",),
    "classes": ("draw_classes", "draw_evaluation", "read_class_results"),
    "clip": ("draw_clip",),
    "curves": ("draw_curves",),
    "embeddings": ("draw_map",),
    "layers": ("draw_where",),
    "masks": ("draw_masks", "examine_masks"),
    "report": ("render_report",),
    "style": ("save_figure",),
    "timeline": ("draw_timeline",),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS, extra="figures")
