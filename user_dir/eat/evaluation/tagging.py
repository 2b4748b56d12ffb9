"""What a classifier says of clips: scores of whole clips, and tags of any files."""

import os
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from eat.checkpoint import load_classifier
from eat.checkpoint.loading import CheckpointPath
from eat.features import Pipeline, TokenLayout
from eat.features.recordings import Paths, list_inputs
from eat.nn import Classifier, pack_linears
from eat.nn.classifier import ACTIVATIONS, ranking_scores
from eat.work import Failure

DEFAULT_FRAMES = 1024  # of a classifier that was trained on clips of any length

Scoring = Callable[[Tensor], Tensor]  # (B, C) logits -> (B, C)
Scores = Tuple[Dict[int, Tensor], List[Failure]]


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
    paths: Paths,
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
    activate = activation_of(classifier, activation)
    if classifier.config.pooling == "time":
        raise ValueError(
            "found a classifier that scores steps of time, expected one of whole clips: call"
            " eat.tag_over_time (eat tag --timeline)"
        )
    settings = {"window_seconds": trained_seconds(classifier), "overlap_seconds": 0.0}
    network, found = ScoringNetwork(classifier, activate, **settings), list_inputs(paths)
    probabilities, failures = network.score(found.files, "tagging")
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


def trained_seconds(classifier: Classifier) -> float:
    """The length of the clips that a classifier was trained on, in whole rows of patches."""
    log_mel = classifier.log_mel
    return (log_mel.target_length or DEFAULT_FRAMES) // log_mel.patch_size * log_mel.step_seconds


def score_clips(classifier: Classifier, paths: Sequence[str], batch_size: int) -> Scores:
    """Score clips as validation does: padded or cropped to the length of the training."""
    target_length = classifier.log_mel.target_length or DEFAULT_FRAMES
    log_mel = replace(classifier.log_mel, target_length=target_length)
    settings = {"log_mel": log_mel, "window_seconds": None, "batch_size": batch_size}
    activate = partial(ranking_scores, activation=classifier.activation)
    return ScoringNetwork(classifier, activate, **settings).score(paths, "evaluating")


class ScoringNetwork:
    """A classifier as a pipeline runs it: its tokens are scores (C,).

    They are those of a window as a whole, or by the `layout` of each of its steps.
    """

    layout = TokenLayout(num_summary=1, tokens_per_row=0)

    def __init__(self, classifier: Classifier, activate: Scoring, **settings: Any) -> None:
        self.classifier, self._activate = classifier, activate
        settings = {"log_mel": classifier.log_mel, **settings}
        self.pipeline = Pipeline(device=classifier.encoder.cls_token.device, **settings)

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) -> (B, 1, C) or (B, steps, C) scores, on the CPU."""
        scores = self._activate(self.classifier(source, lengths).float())
        if scores.ndim == 2:  # of whole windows: all of their steps have the same
            num_rows = source.shape[2] // self.pipeline.log_mel.patch_size
            num_tokens = self.layout.num_summary + self.layout.tokens_per_row * num_rows
            scores = scores.unsqueeze(1).expand(-1, num_tokens, -1)
        return scores.cpu()

    def score(self, paths: Sequence[str], title: str) -> Scores:
        """The scores (C,) of the files that can be read, by index, and the other files."""
        scores: Dict[int, Tensor] = {}
        return scores, self.pipeline.run_files(paths, self, scores.__setitem__, title)
