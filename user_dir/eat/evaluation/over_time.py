"""What a classifier over time says of the recordings of a labelled split."""

import os
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from eat.data.events import read_events
from eat.data.labels import DESCRIPTORS_FILE, Label
from eat.data.manifest import Manifest
from eat.nn import Classifier
from eat.work import Failure

from .event_metrics import Recordings, require_event_metrics
from .timeline import Scorer, describe_thresholds


def score_recordings(
    classifier: Classifier, descriptors: Sequence[Label], data: str, split: str, tune_split: str
) -> Dict[str, Any]:
    """Score whole recordings, whose events are those of `{split}.events.tsv`.

    The threshold of each class and the length of the median filter are chosen on `tune_split`.
    Returns fields of `Evaluation`.
    """
    require_event_metrics()
    scored, failures = _score_split(classifier, descriptors, data, split)
    tuned, more = scored, []
    if tune_split != split:
        tuned, more = _score_split(classifier, descriptors, data, tune_split)
    point = tuned.choose_thresholds()
    scores, targets = scored.steps()
    return {
        "scores": scores,
        "targets": targets,
        "failures": failures + more,
        "num_clips": len(scored),
        "event_metrics": scored.measure(point),
        "thresholds": {"tune_split": tune_split, **describe_thresholds(point, classifier)},
    }


def _score_split(
    classifier: Classifier, descriptors: Sequence[Label], data: str, split: str
) -> Tuple[Recordings, List[Failure]]:
    manifest, classes = Manifest(f"{data}/{split}.tsv"), os.path.join(data, DESCRIPTORS_FILE)
    events = read_events(f"{data}/{split}.events.tsv", manifest, descriptors, classes)
    scores, sounding, durations = {}, {}, {}

    def keep(index: int, found: np.ndarray, seconds: float) -> None:
        name = str(index)
        scores[name], sounding[name], durations[name] = found, events.events(index), seconds

    paths = [manifest.path(clip) for clip in range(len(manifest))]
    failures = Scorer(classifier).run(paths, keep)
    if not scores:
        path, reason = failures[0]
        raise ValueError(f"{manifest.file}: no recording can be read, e.g. {path}: {reason}")
    names = [label.name for label in descriptors]
    return Recordings(scores, sounding, durations, classifier.step_seconds, names), failures
