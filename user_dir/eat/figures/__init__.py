"""Every picture, and the report page: made here once, used by commands, report and TensorBoard.

Functions take data and return a matplotlib `Figure`, without pyplot's global state; `save_figure`
is the one way to write it to disk.
"""

from eat.lazy import export

MAPPING_METHODS = ("pca", "tsne")  # of `draw_map`
MIN_MAPPED_CLIPS = 3

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "draw_layer": "attention",
        "draw_classes": "classes",
        "draw_evaluation": "classes",
        "read_class_results": "classes",
        "draw_clip": "clip",
        "draw_curves": "curves",
        "draw_where": "layers",
        "draw_map": "embeddings",
        "draw_masks": "masks",
        "examine_masks": "masks",
        "render_report": "report",
        "draw_timeline": "timeline",
        "save_figure": "style",
    },
    extra="figures",
)
