"""Features of recordings: any length, in batches, in bounded memory."""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "GRANULARITIES": "embedding",
        "STEP_SECONDS": "windows",
        "Embedder": "embedding",
        "Pipeline": "pipeline",
        "Result": "pipeline",
        "TokenLayout": "merging",
        "extract_features": "extraction",
        "frame_times": "windows",
        "make_pipeline": "extraction",
    },
)
