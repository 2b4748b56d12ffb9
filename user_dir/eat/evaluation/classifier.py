"""How well a classifier fits a labelled data set: its metrics, and their tables."""

import csv
import io
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
import torch

from eat.checkpoint import build_classifier, load_checkpoint
from eat.data.events import read_events
from eat.data.labels import DESCRIPTORS_FILE, Label, describe_difference, read_descriptors
from eat.data.manifest import Manifest
from eat.data.split import open_split
from eat.features import BATCH_SIZE
from eat.files import write_file
from eat.machine import choose_device
from eat.nn import pack_linears
from eat.work import Failure

from . import metrics
from .event_metrics import Recordings, require_event_metrics
from .tagging import score_clips
from .timeline import Scorer, describe_thresholds


@dataclass
class Evaluation:
    """Metrics of the scores of labelled clips, all that fit the labels."""

    scores: np.ndarray  # (N, C), any numbers that grow with the probabilities
    targets: np.ndarray  # (N, C), 1 at the classes of a clip
    descriptors: Sequence[Label]  # the classes
    checkpoint: str = ""
    data: str = ""
    split: str = ""
    failures: Sequence[Failure] = ()  # further clips, which could not be read
    num_clips: Optional[int] = None  # of scores over time, whose rows are steps of the clips
    event_metrics: Optional[Dict[str, float]] = None  # of scores over time
    thresholds: Optional[Dict[str, Any]] = None  # with which they find events

    def __post_init__(self) -> None:
        scored = self.scores, self.targets
        self.average_precisions = metrics.average_precisions(*scored)
        self.roc_aucs = metrics.roc_aucs(*scored)
        mean = metrics.mean_over_classes(self.average_precisions)
        undefined = np.flatnonzero(np.isnan(self.average_precisions))
        self.left_out = [self.descriptors[index].name for index in undefined]  # of mAP
        self.confusion: Optional[np.ndarray] = None  # (C, C), if each clip has one class
        if self.event_metrics is not None:
            self.metrics = self.event_metrics
            return
        self.num_clips = len(self.scores)
        if metrics.metric_for(self.targets) == "accuracy":
            self.metrics = {"accuracy": metrics.accuracy(*scored), "mAP": mean}
            self.confusion = metrics.confusion_matrix(*scored)
        else:
            auc = metrics.mean_over_classes(self.roc_aucs)
            self.metrics = {"mAP": mean, "auc": auc, "d_prime": metrics.d_prime(auc)}

    @property
    def never_found(self) -> List[str]:
        """Classes over time that no threshold finds well on the split that thresholds are from."""
        return [
            name for name, value in (self.thresholds or {}).get("thresholds", ()) if value is None
        ]

    def rows(self) -> List[Dict[str, Any]]:
        """One row per class, for tables; None where a value is not defined.

        `num_positives` counts what the values are of: clips, of scores over time steps.
        """
        counts = self.targets.sum(axis=0).astype(int).tolist()
        columns = (self.descriptors, counts, self.average_precisions, self.roc_aucs)
        return [
            {
                "label": label.name,
                "id": label.id,
                "num_positives": count,
                "average_precision": None if np.isnan(precision) else float(precision),
                "auc": None if np.isnan(auc) else float(auc),
            }
            for label, count, precision, auc in zip(*columns, strict=True)
        ]

    def as_dict(self) -> Dict[str, Any]:
        """The content of metrics.json; None where a value is not defined or infinite."""
        values = {key: v if np.isfinite(v) else None for key, v in self.metrics.items()}
        return {
            **{key: getattr(self, key) for key in ("checkpoint", "data", "split", "num_clips")},
            "failed": [failure._asdict() for failure in self.failures],
            "metrics": values,
            "classes_left_out": self.left_out,
            "classes": self.rows(),
            "confusion_matrix": None if self.confusion is None else self.confusion.tolist(),
            **({} if self.thresholds is None else {"operating_point": self.thresholds}),
        }

    def write(self, folder: str) -> None:
        """Write metrics.json, classes.csv, and if clips have one class confusion.csv, with figures
        of both tables; for scores over time thresholds.json. Files of these names are replaced.
        """
        for name, content in (("metrics", self.as_dict()), ("thresholds", self.thresholds)):
            if content is not None:
                write_file(f"{folder}/{name}.json", (json.dumps(content, indent=2) + "\n").encode())
        rows = self.rows()
        _write_csv(f"{folder}/classes.csv", [rows[0].keys(), *(row.values() for row in rows)])
        if self.confusion is not None:
            names = [row["label"] for row in rows]
            counts = zip(names, self.confusion.tolist(), strict=True)
            table = [["", *names], *([name, *row] for name, row in counts)]
            _write_csv(f"{folder}/confusion.csv", table)
        from eat.figures import draw_evaluation, save_figure  # last: it may not be installed

        for name, figure in draw_evaluation(self.as_dict()).items():
            save_figure(figure, f"{folder}/{name}")


def evaluate_checkpoint(
    checkpoint: str,
    data: str,
    split: str = "eval",
    batch_size: int = BATCH_SIZE,
    device: str = "auto",
    tune_split: str = "valid",
) -> Evaluation:
    """Score a labelled split with a fine-tuned checkpoint, as validation during training does.

    Every clip is padded or cropped to the length that the classifier was trained on. `data` is the
    folder of the manifest, its labels and their descriptors; `device` is "auto", "cpu" or "cuda".
    With labels in time whole recordings are scored, whose events are those of
    `{split}.events.tsv`; thresholds and median filter are chosen on `tune_split`.

    Raises:
        ModuleNotFoundError, FileNotFoundError: there is no scikit-learn, or no such file.
        ValueError: a bad line, classes that are not those of the checkpoint, or no readable clip.
    """
    metrics.require_scikit_learn()
    # Not by load_classifier, which misses names of classes: the data has them.
    classifier = build_classifier(load_checkpoint(checkpoint))
    classifier = pack_linears(classifier.to(choose_device(device), torch.float32).eval())
    descriptors_file = os.path.join(data, DESCRIPTORS_FILE)
    descriptors = read_descriptors(descriptors_file)
    problem = describe_difference(classifier.config.num_classes, classifier.labels, descriptors)
    if problem is not None:
        raise ValueError(f"{checkpoint}: {problem} as in {descriptors_file}")
    name, data = os.fspath(checkpoint), os.fspath(data)
    if classifier.config.pooling == "time":
        scorer = Scorer(classifier, batch_size=batch_size)
        found = _score_recordings(scorer, descriptors, data, split, tune_split)
        return Evaluation(**found, descriptors=descriptors, checkpoint=name, data=data, split=split)
    manifest, _, labels, _ = clips = open_split(data, split)
    scored, failures = score_clips(classifier, clips.paths, batch_size)
    if not scored:
        path, reason = failures[0]
        raise ValueError(f"{manifest.file}: no clip can be read, e.g. {path}: {reason}")
    scores = np.stack([scored[clip].numpy() for clip in sorted(scored)])
    targets = np.stack([labels.targets(clip) for clip in sorted(scored)])
    return Evaluation(scores, targets, descriptors, name, data, split, failures)


def _score_recordings(
    scorer: Scorer, descriptors: Sequence[Label], data: str, split: str, tune_split: str
) -> Dict[str, Any]:
    """Score whole recordings; returns fields of `Evaluation`."""
    require_event_metrics()
    scored, failures = _score_split(scorer, descriptors, data, split)
    tuned, more = scored, []
    if tune_split != split:
        tuned, more = _score_split(scorer, descriptors, data, tune_split)
    point = tuned.choose_thresholds()
    scores, targets = scored.steps()
    return {
        "scores": scores,
        "targets": targets,
        "failures": failures + more,
        "num_clips": len(scored),
        "event_metrics": scored.measure(point),
        "thresholds": {"tune_split": tune_split, **describe_thresholds(point, scorer.classifier)},
    }


def _score_split(
    scorer: Scorer, descriptors: Sequence[Label], data: str, split: str
) -> Tuple[Recordings, List[Failure]]:
    manifest, classes = Manifest(f"{data}/{split}.tsv"), os.path.join(data, DESCRIPTORS_FILE)
    events = read_events(f"{data}/{split}.events.tsv", manifest, descriptors, classes)
    scores, sounding, durations = {}, {}, {}

    def keep(index: int, found: np.ndarray, seconds: float) -> None:
        name = str(index)
        scores[name], sounding[name], durations[name] = found, events.events(index), seconds

    paths = [manifest.path(clip) for clip in range(len(manifest))]
    failures = scorer.run(paths, keep)
    if not scores:
        path, reason = failures[0]
        raise ValueError(f"{manifest.file}: no recording can be read, e.g. {path}: {reason}")
    names = [label.name for label in descriptors]
    step_seconds = scorer.classifier.step_seconds
    return Recordings(scores, sounding, durations, step_seconds, names), failures


def _write_csv(path: str, rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # None becomes an empty field
    write_file(path, text.getvalue().encode())
