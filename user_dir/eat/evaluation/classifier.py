"""What a classifier says of clips: metrics of a labelled data set, and tags of any files."""

import csv
import io
import json
import os
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from eat.audio.finding import find_inputs
from eat.checkpoint import load_classifier
from eat.data.labels import DESCRIPTORS_FILE, Label, describe_difference
from eat.data.split import open_split
from eat.features import BATCH_SIZE, STEP_SECONDS, Pipeline, TokenLayout
from eat.files import replace_file
from eat.machine import choose_device
from eat.nn import Classifier
from eat.nn.classifier import ACTIVATIONS, ranking_scores
from eat.work import Failure

from .metrics import (
    accuracy,
    average_precisions,
    confusion_matrix,
    d_prime,
    mean_over_classes,
    metric_for,
    require_scikit_learn,
    roc_aucs,
)

DEFAULT_FRAMES = 1024  # of a classifier that was trained on clips of any length

Scores = Tuple[Dict[int, Tensor], List[Failure]]


@dataclass(kw_only=True)
class Evaluation:
    """Metrics of the scores of labelled clips, all that fit the labels.

    Attributes:
        scores: (N, C), any numbers that grow with the probabilities.
        targets: (N, C), 1 at the classes of a clip.
        descriptors: the classes.
        checkpoint, data, split: what the scores are of.
        failures: further clips, which could not be read.
        average_precisions: (C,), NaN for classes without clips.
        roc_aucs: (C,), NaN for classes without clips and without others.
        metrics: `accuracy` and `mAP` if each clip has one class, else `mAP`, `auc` and `d_prime`.
        confusion: (C, C) clips by class and predicted class, if each has one class; else None.

    Raises:
        ValueError: the shapes differ, there is no clip, or a score is not a number.
    """

    scores: np.ndarray
    targets: np.ndarray
    descriptors: Sequence[Label]
    checkpoint: str = ""
    data: str = ""
    split: str = ""
    failures: Sequence[Failure] = ()

    def __post_init__(self) -> None:
        scored = self.scores, self.targets
        self.average_precisions = average_precisions(*scored)
        self.roc_aucs = roc_aucs(*scored)
        self.metrics = {"mAP": mean_over_classes(self.average_precisions).value}
        self.confusion: Optional[np.ndarray] = None
        if metric_for(self.targets) == "accuracy":
            self.metrics = {"accuracy": accuracy(*scored), **self.metrics}
            self.confusion = confusion_matrix(*scored)
        else:
            auc = mean_over_classes(self.roc_aucs).value
            self.metrics.update(auc=auc, d_prime=d_prime(auc))

    @property
    def num_clips(self) -> int:
        return len(self.scores)

    @property
    def left_out(self) -> List[str]:
        """The names of the classes without clips, which mAP leaves out."""
        indices = mean_over_classes(self.average_precisions).left_out
        return [self.descriptors[index].name for index in indices]

    def rows(self) -> List[Dict[str, Any]]:
        """One row per class, for tables; None where a value is not defined."""
        num_positives = self.targets.sum(axis=0).astype(int).tolist()
        columns = (self.descriptors, num_positives, self.average_precisions, self.roc_aucs)
        return [
            {
                "label": label.name,
                "id": label.id,
                "num_positives": count,
                "average_precision": _number(precision),
                "auc": _number(auc),
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
        }

    def write(self, folder: str) -> None:
        """Write metrics.json, classes.csv, and if clips have one class confusion.csv, with figures
        of both tables. Files of these names are replaced.
        """
        from eat.figures import draw_evaluation, save_figure

        os.makedirs(folder, exist_ok=True)
        with replace_file(os.path.join(folder, "metrics.json")) as file:
            file.write((json.dumps(self.as_dict(), indent=2) + "\n").encode())
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
) -> Evaluation:
    """Score a labelled split with a fine-tuned checkpoint, as validation during training does.

    Every clip is padded or cropped to the length that the classifier was trained on.

    Args:
        checkpoint: of any layout.
        data: folder of the manifest, its labels and their descriptors.
        split: e.g. "eval".
        batch_size: clips in one pass.
        device: "auto", "cpu" or "cuda".

    Raises:
        ModuleNotFoundError: there is no scikit-learn.
        FileNotFoundError: a file is missing.
        ValueError: a bad line, classes that are not those of the checkpoint, or no readable clip.
    """
    require_scikit_learn()
    classifier = load_classifier(checkpoint, choose_device(device))
    manifest, descriptors, labels = clips = open_split(data, split)
    problem = describe_difference(classifier.config.num_classes, classifier.labels, descriptors)
    if problem is not None:
        raise ValueError(f"{checkpoint}: {problem} as in {os.path.join(data, DESCRIPTORS_FILE)}")
    scores, failures = score_clips(classifier, clips.paths, batch_size)
    if not scores:
        path, reason = failures[0]
        raise ValueError(f"{manifest.file}: no clip can be read, e.g. {path}: {reason}")
    read = sorted(scores)
    return Evaluation(
        scores=np.stack([scores[clip].numpy() for clip in read]),
        targets=np.stack([labels.targets(clip) for clip in read]),
        descriptors=descriptors,
        checkpoint=checkpoint,
        data=data,
        split=split,
        failures=failures,
    )


class Tag(NamedTuple):
    """A class of a clip."""

    label: str
    probability: float


class Tags(NamedTuple):
    """The tags of each file that could be read, the most probable first, and the other files."""

    files: List[Tuple[str, List[Tag]]]
    failures: List[Failure]
    notes: Sequence[str] = ()  # by folder, what else it has


def tag_files(
    paths: Sequence[str], classifier: Classifier, top: int = 10, activation: Optional[str] = None
) -> Tags:
    """Name the most probable classes of recordings of any length.

    A recording that is longer than the clips of the fine-tuning is cut into windows of their
    length; the probabilities of the windows are averaged, weighted by duration.

    Args:
        paths: the audio files, and folders of them.
        classifier: from `eat.load_classifier`; classes without names are numbered.
        top: how many classes to name at most.
        activation: "sigmoid", any number of classes at once, or "softmax", exactly one; None: the
            classifier's own, and sigmoid if that is unknown.

    Raises:
        ValueError: no such activation, or a folder without audio.
    """
    if activation not in (None, *ACTIVATIONS):
        raise ValueError(f"activation: found {activation!r}, expected one of {ACTIVATIONS}")
    paths, notes, left_out = find_inputs(paths)
    is_softmax = (activation or classifier.activation) == "softmax"
    log_mel = classifier.log_mel
    num_rows = (log_mel.target_length or DEFAULT_FRAMES) // log_mel.patch_size
    probabilities, failures = _score(
        classifier,
        paths,
        lambda logits: logits.softmax(dim=1) if is_softmax else logits.sigmoid(),
        "tagging",
        log_mel=log_mel,
        window_seconds=num_rows * STEP_SECONDS,
        overlap_seconds=0.0,
    )
    labels = classifier.labels or list(map(str, range(classifier.config.num_classes)))
    files = [(paths[i], top_tags(probabilities[i], labels, top)) for i in sorted(probabilities)]
    return Tags(files, failures + left_out, notes)


def top_tags(probabilities: Tensor, labels: Sequence[str], top: int) -> List[Tag]:
    """At most `top` classes of a clip with the highest probabilities (C,), the highest first."""
    values, indices = probabilities.sort(descending=True, stable=True)
    order = zip(indices[:top].tolist(), values.tolist(), strict=False)
    return [Tag(labels[index], value) for index, value in order]


def score_clips(
    classifier: Classifier, paths: Sequence[str], batch_size: int = BATCH_SIZE
) -> Scores:
    """Score clips as validation does: padded or cropped to the length of the training."""
    target_length = classifier.log_mel.target_length or DEFAULT_FRAMES
    return _score(
        classifier,
        paths,
        lambda logits: ranking_scores(logits, classifier.activation),
        "evaluating",
        log_mel=replace(classifier.log_mel, target_length=target_length),
        window_seconds=None,
        batch_size=batch_size,
    )


class _Network(NamedTuple):
    """A classifier as the pipeline runs it: the scores of a window are its one token."""

    classifier: Classifier
    score: Callable[[Tensor], Tensor]  # (B, C) logits -> (B, C)
    layout: TokenLayout = TokenLayout(num_summary=1, tokens_per_row=0)

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) -> (B, 1, C) scores, on the CPU."""
        return self.score(self.classifier(source, lengths).float()).unsqueeze(1).cpu()


def _score(
    classifier: Classifier,
    paths: Sequence[str],
    score: Callable[[Tensor], Tensor],
    description: str,
    **settings: Any,
) -> Scores:
    """The scores (C,) of the files that can be read, by index, and the other files."""
    scores: Dict[int, Tensor] = {}
    pipeline = Pipeline(device=classifier.encoder.cls_token.device, **settings)
    network = _Network(classifier, score)
    return scores, pipeline.run_files(paths, network, scores.__setitem__, description)


def _number(value: float) -> Optional[float]:
    return None if np.isnan(value) else float(value)


def _write_csv(path: str, rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # None becomes an empty field
    with replace_file(path) as file:
        file.write(text.getvalue().encode())
