"""What sounds when: a classifier's scores over time, and the events in them.

A classifier with `pooling="time"` scores every step of a window. One of whole clips scores windows
of the length of its training, which move on by a hop: the score of a step is that of the window in
whose middle it lies, within half a hop. Windows overlap and meet in the middle of what they share
(`eat.features.windows`), so that a seam neither doubles nor cuts an event.
"""

import json
import os
from dataclasses import replace
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
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
from eat.checkpoint import load_classifier
from eat.checkpoint.loading import CheckpointPath
from eat.features import Pipeline, TokenLayout
from eat.features.recordings import FileRecording
from eat.files import FilePath, replace_file
from eat.nn import Classifier
from eat.work import Failure

from .classifier import DEFAULT_FRAMES, Tagging, activation_of, class_names, list_paths

_STEPS_AT_ONCE = 4096  # whose events are found at once, so that the memory does not grow


class Detection(NamedTuple):
    """An event that was found."""

    onset: float  # seconds of the recording
    offset: float
    label: Union[int, str]  # the class: its index, or its name in the result of `tag_over_time`
    score: float  # the mean probability of its steps


class EventFinder:
    """Finds events in scores that come bit by bit; see `find_events`."""

    def __init__(self, step_seconds: float, thresholds: np.ndarray, median_steps: int = 1) -> None:
        if median_steps < 1 or median_steps % 2 == 0:
            raise ValueError(f"median_steps: found {median_steps}, expected an odd number")
        num_classes = len(thresholds)
        self._step_seconds, self._thresholds = step_seconds, thresholds
        self._half = median_steps // 2
        # Steps from the first that the next decision looks at, and those not decided on yet.
        self._active = np.zeros((self._half, num_classes), bool)
        self._scores = np.empty((0, num_classes))
        self._num_steps = 0  # decided
        self._is_on = np.zeros(num_classes, bool)  # at the last of them
        self._sums = np.zeros(num_classes)  # of all scores up to there
        self._starts: Dict[int, Tuple[int, float]] = {}  # step and sum, of events that go on

    def push(self, scores: np.ndarray) -> List[Detection]:
        """Take the next (steps, C) scores; returns the events that have ended, in that order."""
        return self._decide(scores, scores >= self._thresholds)

    def finish(self) -> List[Detection]:
        """The events that go on until the end."""
        shape = self._half, len(self._is_on)
        ended = self._decide(np.empty((0, shape[1])), np.zeros(shape, bool))
        return ended + self._collect(np.zeros((1, shape[1]), bool), self._sums[None])

    def _decide(self, scores: np.ndarray, active: np.ndarray) -> List[Detection]:
        active = np.concatenate([self._active, active])
        scores = np.concatenate([self._scores, scores])
        num_decided = max(0, len(active) - 2 * self._half)
        # The median of a window is above the threshold if most of its steps are.
        counts = np.cumsum(np.pad(active, ((1, 0), (0, 0))), axis=0, dtype=np.int32)
        size = 2 * self._half + 1
        is_on = counts[size:] - counts[:-size] > self._half
        sums = np.cumsum(np.concatenate([self._sums[None], scores[:num_decided]]), axis=0)
        ended = self._collect(is_on, sums)
        self._active, self._scores = active[num_decided:], scores[num_decided:]
        self._sums = sums[-1]
        self._num_steps += num_decided
        return ended

    def _collect(self, is_on: np.ndarray, sums: np.ndarray) -> List[Detection]:
        """The events that end in (n, C) steps; sums of the scores before each and after all."""
        ended = []
        changes = np.diff(np.concatenate([self._is_on[None], is_on]).astype(np.int8), axis=0)
        for row, label in np.argwhere(changes).tolist():
            step, total = self._num_steps + row, float(sums[row, label])
            if is_on[row, label]:
                self._starts[label] = step, total
                continue
            start, before = self._starts.pop(label)
            times = start * self._step_seconds, step * self._step_seconds
            ended.append(Detection(*times, label, (total - before) / (step - start)))
        self._is_on = is_on[-1] if len(is_on) else self._is_on
        return ended


def find_events(
    scores: np.ndarray,
    step_seconds: float,
    thresholds: Union[float, np.ndarray] = 0.5,
    median_steps: int = 1,
) -> List[Detection]:
    """Find the events in the scores of a recording.

    An event of a class is a run of steps whose score, after a median filter, is at least its
    threshold; what lies before and after the recording counts as below it.

    Args:
        scores: (steps, C), probabilities for example.
        step_seconds: the time from one step to the next.
        thresholds: one, or (C,).
        median_steps: the width of the filter, an odd number of steps; 1: no filter.

    Returns:
        The events with the indices of their classes, by onset.
    """
    thresholds = np.broadcast_to(thresholds, scores.shape[1])
    finder, found = EventFinder(step_seconds, thresholds, median_steps), []
    for first in range(0, len(scores), _STEPS_AT_ONCE):
        found += finder.push(scores[first : first + _STEPS_AT_ONCE])
    return sorted(found + finder.finish())


class Thresholds(NamedTuple):
    """How scores become events, as `find_events` takes it."""

    values: np.ndarray  # (C,)
    median_steps: int = 1

    @classmethod
    def of(cls, threshold: Union[float, FilePath], classifier: Classifier) -> "Thresholds":
        """One number for all classes, or the file that `write` wrote for them."""
        names = class_names(classifier)
        if isinstance(threshold, (float, int)):
            return cls(np.full(len(names), float(threshold)))
        path = os.fspath(threshold)
        with open(path, encoding="utf-8") as file:
            try:
                content = json.load(file)
                made_for = list(content["thresholds"]), content["step_seconds"]
                found = cls(np.array([*content["thresholds"].values()]), content["median_steps"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: expected thresholds that eat wrote ({error})") from error
        if made_for != (names, classifier.step_seconds):
            raise ValueError(
                f"{path}: found {len(made_for[0])} classes, {', '.join(made_for[0][:3])}, in steps"
                f" of {made_for[1]} s, expected those of the classifier: {len(names)},"
                f" {', '.join(names[:3])}, in steps of {classifier.step_seconds} s"
            )
        return found

    def write(self, path: FilePath, classifier: Classifier) -> None:
        """Write a JSON file that `of` reads; a file of that name is replaced."""
        content = {"median_steps": self.median_steps, "step_seconds": classifier.step_seconds}
        content["thresholds"] = dict(
            zip(class_names(classifier), self.values.tolist(), strict=True)
        )
        with replace_file(path) as file:
            file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


class Scorer:
    """A classifier that a pipeline runs over time: a token is the probabilities of a step (C,).

    Windows have the length of the training, and shorter recordings are padded to it as there. With
    `window_seconds` they are that long, and nothing is padded. They move on by `hop_seconds`: half
    a window, or for a classifier of whole clips an eighth. `activation` is that of `eat.tag`.
    """

    def __init__(
        self,
        classifier: Classifier,
        window_seconds: Optional[float] = None,
        hop_seconds: Optional[float] = None,
        activation: Optional[str] = None,
    ) -> None:
        log_mel, is_over_time = classifier.log_mel, classifier.config.pooling == "time"
        window, step = window_seconds, log_mel.step_seconds
        if window is None:
            window = (log_mel.target_length or DEFAULT_FRAMES) // log_mel.patch_size * step
        else:
            log_mel = replace(log_mel, target_length=None)
        hop = window / (2 if is_over_time else 8) if hop_seconds is None else hop_seconds
        if not step <= hop <= window:
            raise ValueError(f"hop_seconds: found {hop:g}, expected {step:g} to {window:g} seconds")
        self.layout = TokenLayout(0, classifier.config.steps_per_row)
        self._classifier, self._activate = classifier, activation_of(classifier, activation)
        cuts = {"window_seconds": window, "overlap_seconds": window - hop}
        self.pipeline = Pipeline(log_mel, device=classifier.encoder.cls_token.device, **cuts)

    @torch.no_grad()
    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) -> (B, steps, C) probabilities, on the CPU."""
        scores = self._activate(self._classifier(source, lengths).float())
        if scores.ndim == 2:  # of whole windows: all of their steps have the same
            num_rows = source.shape[2] // self.pipeline.log_mel.patch_size
            scores = scores.unsqueeze(1).expand(-1, num_rows, -1)
        return scores.cpu()

    def run(
        self, paths: Sequence[str], use: Callable[[int, np.ndarray, float], None]
    ) -> List[Failure]:
        """Call `use` with index, scores (steps, C) and seconds of each recording that can be read.

        The last step may reach beyond the end. Returns the other recordings.
        """

        def measure(index: int, scores: Tensor) -> None:
            num_samples = FileRecording(paths[index]).num_samples
            use(index, scores.numpy(), num_samples / self.pipeline.log_mel.reading_rate_hz)

        return self.pipeline.run_files(paths, self, measure, "scoring")


def tag_over_time(
    paths: Union[AudioPath, Sequence[AudioPath]],
    classifier: Union[Classifier, CheckpointPath],
    threshold: Union[float, FilePath] = 0.5,
    **settings: Any,
) -> Tagging:
    """Find what sounds when in recordings of any length.

    Args:
        paths: audio files, folders and manifests (.tsv), as for `eat.tag`; or one.
        classifier: from `eat.load_classifier`, or a checkpoint. If it is one of whole clips, the
            score of a step is that of the window around it.
        threshold: the probability from which on a class is there, or the file thresholds.json that
            `eat evaluate --out` wrote.
        settings: `window_seconds`, `hop_seconds` and `activation` of a `Scorer`.

    Returns:
        For each recording its events by onset, a `Detection` each.

    Raises:
        ValueError: an impossible setting, thresholds of other classes, a folder without audio.
    """
    if isinstance(classifier, (str, os.PathLike)):
        classifier = load_classifier(classifier)
    scorer, thresholds = Scorer(classifier, **settings), Thresholds.of(threshold, classifier)
    found = list_paths(paths)
    events: Dict[int, List[Detection]] = {}

    def find(index: int, scores: np.ndarray, seconds: float) -> None:
        detected = find_events(scores, classifier.step_seconds, *thresholds)
        events[index] = _named(detected, classifier, seconds)

    failures = found.failures + scorer.run(found.files, find)
    files = [(found.files[index], events[index]) for index in sorted(events)]
    return Tagging(files, failures, found.other_files)


def tag_stream(
    chunks: Iterable[np.ndarray],
    classifier: Classifier,
    threshold: Union[float, FilePath] = 0.5,
    **settings: Any,
) -> Iterator[Detection]:
    """Yield the events of sound that comes bit by bit, each when its end is certain.

    They are those of `tag_over_time` for a file of the sound, (S,) float32 each at the rate
    `classifier.log_mel.reading_rate_hz` (`eat.audio.stream`). An event comes at most a window and a
    hop after its end, and half a median filter. Ctrl-C ends the sound.
    """
    scorer, thresholds = Scorer(classifier, **settings), Thresholds.of(threshold, classifier)
    finder, num_samples = EventFinder(classifier.step_seconds, *thresholds), 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal num_samples
        for chunk in chunks:
            num_samples += len(chunk)
            yield chunk

    def named(events: Iterable[Detection]) -> List[Detection]:
        return _named(events, classifier, num_samples / classifier.log_mel.reading_rate_hz)

    try:
        for scores in scorer.pipeline.run_stream(counted(), scorer):
            yield from named(finder.push(scores.numpy()))
    except KeyboardInterrupt:
        pass
    yield from named(finder.finish())


def _named(events: Iterable[Detection], classifier: Classifier, end: float) -> List[Detection]:
    """Events with the names of their classes, none of which ends after the recording."""
    names = class_names(classifier)
    return [e._replace(offset=min(e.offset, end), label=names[e.label]) for e in events]
