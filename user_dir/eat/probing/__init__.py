"""Probes: how much of a label can be read from frozen features (needs scikit-learn to fit)."""

from .folds import Fold, groups_from, make_folds
from .scoring import METHODS, Probe, score_folds
from .vectors import POOLINGS, ClipVectors, collect_vectors, untrained_like

__all__ = [
    "METHODS",
    "POOLINGS",
    "ClipVectors",
    "Fold",
    "Probe",
    "collect_vectors",
    "groups_from",
    "make_folds",
    "score_folds",
    "untrained_like",
]
