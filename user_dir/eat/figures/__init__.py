"""Every picture, and the report page: made here once, used by commands, report and TensorBoard.

Functions take data and return a matplotlib `Figure`, without pyplot's global state; `save_figure`
is the one way to write it to disk.
"""

from eat.lazy import export

MAPPING_METHODS = ("pca", "tsne")  # of `map_embeddings`
MIN_MAPPED_CLIPS = 3

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "cls_attention": "attention",
        "draw_attention": "attention",
        "ClassResult": "classes",
        "draw_classes": "classes",
        "draw_confusion": "classes",
        "draw_evaluation": "classes",
        "read_class_results": "classes",
        "draw_clip": "clip",
        "draw_curves": "curves",
        "logged_panels": "curves",
        "draw_map": "embeddings",
        "map_embeddings": "embeddings",
        "draw_lengths": "lengths",
        "draw_masks": "masks",
        "examine_masks": "masks",
        "MAX_FRAMES": "network",
        "draw_layer": "attention",
        "embed_manifest": "network",
        "mask_clip": "network",
        "name_kinds": "network",
        "read_clip": "network",
        "read_vectors": "network",
        "training_settings": "network",
        "render_report": "report.page",
        "save_figure": "style",
    },
    extra="figures",
)
