"""What a classifier says of clips: metrics of a labelled data set, and tags of any files."""

import csv
import io
import json
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
import torch
from torch import Tensor

from eat.audio.opening import AudioPath
from eat.checkpoint import build_classifier, load_checkpoint, load_classifier
from eat.checkpoint.loading import CheckpointPath
from eat.data.labels import DESCRIPTORS_FILE, Label, describe_difference, read_descriptors
from eat.data.split import open_split
from eat.features import BATCH_SIZE, Pipeline, TokenLayout
from eat.features.recordings import Inputs, list_inputs
from eat.files import replace_file
from eat.machine import choose_device
from eat.nn import Classifier, pack_linears
from eat.nn.classifier import ACTIVATIONS, ranking_scores
from eat.work import Failure

from . import metrics

DEFAULT_FRAMES = 1024  # of a classifier that was trained on clips of any length

Scoring = Callable[[Tensor], Tensor]  # (B, C) logits -> (B, C)
Scores = Tuple[Dict[int, Tensor], List[Failure]]


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
        mean, left_out = metrics.mean_over_classes(self.average_precisions)
        self.left_out = [self.descriptors[index].name for index in left_out]  # of mAP: no clips
        self.confusion: Optional[np.ndarray] = None  # (C, C), if each clip has one class
        if self.event_metrics is not None:
            self.metrics = self.event_metrics
            return
        self.num_clips = len(self.scores)
        if metrics.metric_for(self.targets) == "accuracy":
            self.metrics = {"accuracy": metrics.accuracy(*scored), "mAP": mean}
            self.confusion = metrics.confusion_matrix(*scored)
        else:
            auc = metrics.mean_over_classes(self.roc_aucs).value
            self.metrics = {"mAP": mean, "auc": auc, "d_prime": metrics.d_prime(auc)}

    def rows(self) -> List[Dict[str, Any]]:
        """One row per class, for tables; None where a value is not defined."""
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
        """The content of metrics.json."""
        return {
            **{key: getattr(self, key) for key in ("checkpoint", "data", "split", "num_clips")},
            "failed": [failure._asdict() for failure in self.failures],
            "metrics": self.metrics,
            "classes_left_out": self.left_out,
            "classes": self.rows(),
            "confusion_matrix": None if self.confusion is None else self.confusion.tolist(),
            **({} if self.thresholds is None else {"operating_point": self.thresholds}),
        }

    def write(self, folder: str) -> None:
        """Write metrics.json, classes.csv, and if clips have one class confusion.csv, with figures
        of both tables; for scores over time thresholds.json. Files of these names are replaced.
        """
        from eat.figures import draw_evaluation, save_figure

        os.makedirs(folder, exist_ok=True)
        for name, content in (("metrics", self.as_dict()), ("thresholds", self.thresholds)):
            if content is not None:
                with replace_file(os.path.join(folder, f"{name}.json")) as file:
                    file.write((json.dumps(content, indent=2) + "\n").encode())
        rows = self.rows()
        _write_csv(f"{folder}/classes.csv", [rows[0].keys(), *(row.values() for row in rows)])
        if self.confusion is not None:
            names = [row["label"] for row in rows]
            counts = zip(names, self.confusion.tolist(), strict=True)
            table = [["", *names], *([name, *row] for name, row in counts)]
            _write_csv(f"{folder}/confusion.csv", table)
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
    With labels in time whole recordings are scored, see `over_time`.

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
    if classifier.config.pooling == "time":
        from .over_time import evaluate_over_time

        name = os.fspath(checkpoint)
        return evaluate_over_time(classifier, descriptors, name, data, split, tune_split)
    manifest, _, labels, _ = clips = open_split(data, split)
    scored, failures = score_clips(classifier, clips.paths, batch_size)
    if not scored:
        path, reason = failures[0]
        raise ValueError(f"{manifest.file}: no clip can be read, e.g. {path}: {reason}")
    scores = np.stack([scored[clip].numpy() for clip in sorted(scored)])
    targets = np.stack([labels.targets(clip) for clip in sorted(scored)])
    name = os.fspath(checkpoint)
    return Evaluation(scores, targets, descriptors, name, data, split, failures)


class Tag(NamedTuple):
    """A class of a clip."""

    label: str
    probability: float


class Tagging(NamedTuple):
    """What `tag` or `tag_over_time` found."""

    # Each that could be read: its tags, the most probable first; of `tag_over_time` its events.
    files: List[Tuple[str, List[Any]]]
    failures: List[Failure]
    other_files: List[str]  # by folder, those that are no audio


def tag(
    paths: Union[AudioPath, Sequence[AudioPath]],
    classifier: Union[Classifier, CheckpointPath],
    top: int = 10,
    activation: Optional[str] = None,
) -> Tagging:
    """Name the most probable classes of recordings of any length.

    A recording that is longer than the clips of the fine-tuning is cut into windows of their
    length; the probabilities of the windows are averaged, weighted by duration.

    Args:
        paths: audio files, folders and manifests (.tsv), as for `extract_to_folder`; or one.
        classifier: from `eat.load_classifier`, or a checkpoint; classes without names are numbered.
        top: how many classes to name at most.
        activation: "sigmoid", any number of classes at once, or "softmax", exactly one; None: the
            classifier's own, and sigmoid if that is unknown.

    Raises:
        ValueError: no such activation, a folder without audio, or a bad manifest.
    """
    if isinstance(classifier, (str, os.PathLike)):
        classifier = pack_linears(load_classifier(classifier))
    score = activation_of(classifier, activation)
    if classifier.config.pooling == "time":
        raise ValueError(
            "found a classifier that scores steps of time, expected one of whole clips: call"
            " eat.tag_over_time (eat tag --timeline)"
        )
    num_frames = classifier.log_mel.target_length or DEFAULT_FRAMES
    window_seconds = num_frames // classifier.log_mel.patch_size * classifier.log_mel.step_seconds
    settings = {"window_seconds": window_seconds, "overlap_seconds": 0.0}
    found = list_paths(paths)
    probabilities, failures = _score(classifier, found.files, score, "tagging", **settings)
    labels = class_names(classifier)
    tagged = []
    for index in sorted(probabilities):
        values, classes = probabilities[index].sort(descending=True, stable=True)
        best = zip(classes[:top].tolist(), values.tolist(), strict=False)
        tagged.append((found.files[index], [Tag(labels[number], value) for number, value in best]))
    return Tagging(tagged, found.failures + failures, found.other_files)


def activation_of(classifier: Classifier, activation: Optional[str]) -> Scoring:
    """What turns logits (..., C) into probabilities; see `tag`."""
    if activation not in (None, *ACTIVATIONS):
        raise ValueError(f"activation: found {activation!r}, expected one of {ACTIVATIONS}")
    is_softmax = (activation or classifier.activation) == "softmax"
    return partial(torch.softmax, dim=-1) if is_softmax else torch.sigmoid


def class_names(classifier: Classifier) -> List[str]:
    """The names of the classes, or their numbers."""
    return classifier.labels or list(map(str, range(classifier.config.num_classes)))


def list_paths(paths: Union[AudioPath, Sequence[AudioPath]]) -> Inputs:
    """The audio files behind inputs, or one."""
    single = isinstance(paths, (str, os.PathLike))
    return list_inputs([os.fspath(path) for path in ([paths] if single else paths)])


def score_clips(classifier: Classifier, paths: Sequence[str], batch_size: int) -> Scores:
    """Score clips as validation does: padded or cropped to the length of the training."""
    target_length = classifier.log_mel.target_length or DEFAULT_FRAMES
    log_mel = replace(classifier.log_mel, target_length=target_length)
    settings = {"log_mel": log_mel, "window_seconds": None, "batch_size": batch_size}
    score = partial(ranking_scores, activation=classifier.activation)
    return _score(classifier, paths, score, "evaluating", **settings)


class _Network(NamedTuple):
    """A classifier as the pipeline runs it: the scores of a window are its one token."""

    classifier: Classifier
    score: Scoring
    layout: TokenLayout = TokenLayout(num_summary=1, tokens_per_row=0)

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) -> (B, 1, C) scores, on the CPU."""
        return self.score(self.classifier(source, lengths).float()).unsqueeze(1).cpu()


def _score(
    classifier: Classifier, paths: Sequence[str], score: Scoring, title: str, **settings: Any
) -> Scores:
    """The scores (C,) of the files that can be read, by index, and the other files."""
    scores: Dict[int, Tensor] = {}
    settings = {"log_mel": classifier.log_mel, **settings}
    pipeline = Pipeline(device=classifier.encoder.cls_token.device, **settings)
    network = _Network(classifier, score)
    return scores, pipeline.run_files(paths, network, scores.__setitem__, title)


def _write_csv(path: str, rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # None becomes an empty field
    with replace_file(path) as file:
        file.write(text.getvalue().encode())
