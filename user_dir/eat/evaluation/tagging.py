"""What a classifier says of clips: scores of whole clips, and tags of any files."""

import os
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from eat.audio.opening import AudioPath
from eat.checkpoint import load_classifier
from eat.checkpoint.loading import CheckpointPath
from eat.features import Pipeline, TokenLayout
from eat.features.recordings import Inputs, list_inputs
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
