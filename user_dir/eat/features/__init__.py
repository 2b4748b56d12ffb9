"""Features of recordings: any length, in batches, in bounded memory."""

from .embedding import GRANULARITIES, Embedder
from .extraction import extract_features, make_pipeline
from .merging import TokenLayout
from .pipeline import Pipeline, Result
from .windows import STEP_SECONDS, frame_times

__all__ = [
    "GRANULARITIES",
    "STEP_SECONDS",
    "Embedder",
    "Pipeline",
    "Result",
    "TokenLayout",
    "extract_features",
    "frame_times",
    "make_pipeline",
]
