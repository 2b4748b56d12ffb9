"""What a trained network is worth: metrics, scores of a classifier, probes of frozen features."""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "METHODS": "probes",
        "POOLINGS": "vectors",
        "ClipVectors": "vectors",
        "Evaluation": "classifier",
        "Fold": "folds",
        "Probe": "probes",
        "Score": "probes",
        "Source": "vectors",
        "embed_clips": "vectors",
        "evaluate_scores": "classifier",
        "groups_from": "folds",
        "make_folds": "folds",
        "metric_for": "probes",
        "score_clips": "classifier",
        "score_vectors": "probes",
        "untrained_like": "vectors",
    },
)
