"""Probes: how much of the labels frozen features hold (fitting them needs scikit-learn)."""

from .folds import Fold, groups_from, make_folds
from .scoring import METHODS, Probe, Score, metric_for, score_vectors
from .vectors import POOLINGS, ClipVectors, Source, embed_clips, untrained_like

__all__ = [
    "METHODS",
    "POOLINGS",
    "ClipVectors",
    "Fold",
    "Probe",
    "Score",
    "Source",
    "embed_clips",
    "groups_from",
    "make_folds",
    "metric_for",
    "score_vectors",
    "untrained_like",
]
