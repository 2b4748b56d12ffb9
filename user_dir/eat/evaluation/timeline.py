"""What sounds when in recordings of any length, and in sound that comes bit by bit.

A classifier with `pooling="time"` scores every step of a window. One of whole clips scores windows
of the length of its training, which move on by a hop: the score of a step is that of the window in
whose middle it lies, within half a hop. Windows overlap and meet in the middle of what they share
(`eat.features.windows`), so that a seam neither doubles nor cuts an event.
"""

import json
import math
import os
from contextlib import suppress
from dataclasses import replace
from numbers import Real
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Union

import numpy as np
from torch import Tensor

from eat.checkpoint import load_classifier
from eat.checkpoint.loading import CheckpointPath
from eat.features import BATCH_SIZE, TokenLayout
from eat.features.recordings import FileRecording, Paths, list_inputs
from eat.files import FilePath
from eat.nn import Classifier, pack_linears
from eat.work import Failure

from .event_metrics import OperatingPoint
from .finding import Detection, EventFinder, find_events
from .tagging import ScoringNetwork, Tagging, activation_of, class_names, trained_seconds


def read_thresholds(threshold: Union[float, FilePath], classifier: Classifier) -> OperatingPoint:
    """One threshold for all classes, or the file that `Evaluation.write` wrote for them."""
    names = class_names(classifier)
    if isinstance(threshold, Real):
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold: found {threshold}, expected a probability, 0 to 1")
        return OperatingPoint(np.full(len(names), float(threshold)), 1)
    path = os.fspath(threshold)
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
            classes, values = map(list, zip(*content["thresholds"], strict=True))
            values = [math.inf if value is None else value for value in values]
            found = OperatingPoint(np.array(values, float), int(content["median_steps"]))
            step_seconds = content["step_seconds"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: expected thresholds that eat wrote ({error})") from error
    if (classes, step_seconds) != (names, classifier.step_seconds):
        raise ValueError(
            f"{path}: found {len(classes)} classes ({', '.join(classes[:3])}) in steps of"
            f" {step_seconds} s, expected those of the classifier: {len(names)}"
            f" ({', '.join(names[:3])}) in steps of {classifier.step_seconds} s"
        )
    return found


def describe_thresholds(point: OperatingPoint, classifier: Classifier) -> Dict[str, Any]:
    """The content of a file that `read_thresholds` reads; null for a class never to be found."""
    thresholds = [value if value < math.inf else None for value in point.thresholds.tolist()]
    values = zip(class_names(classifier), thresholds, strict=True)
    times = {"step_seconds": classifier.step_seconds, "median_steps": point.median_steps}
    return {**times, "thresholds": [*values]}


class Scorer(ScoringNetwork):
    """A classifier that a pipeline runs over time: a token is the probabilities of a step (C,).

    Windows are as long as the clips of the training, or `window_seconds`, and move on by
    `hop_seconds`: half a window, or for a classifier of whole clips an eighth, but at least a step.
    Shorter recordings are padded if they were in the training. `activation` is that of `eat.tag`,
    `batch_size` that of `Pipeline`.
    """

    def __init__(
        self,
        classifier: Classifier,
        window_seconds: Optional[float] = None,
        hop_seconds: Optional[float] = None,
        activation: Optional[str] = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        log_mel, is_over_time = classifier.log_mel, classifier.config.pooling == "time"
        window = trained_seconds(classifier) if window_seconds is None else window_seconds
        if window_seconds is not None or is_over_time:  # trained without padding
            log_mel = replace(log_mel, target_length=None)
        step = log_mel.step_seconds
        hop = max(step, window / (2 if is_over_time else 8)) if hop_seconds is None else hop_seconds
        if not step <= hop <= window:
            raise ValueError(f"hop_seconds: found {hop:g}, expected {step:g} to {window:g} seconds")
        how = {"log_mel": log_mel, "batch_size": batch_size}
        how |= {"window_seconds": window, "overlap_seconds": window - hop}
        super().__init__(classifier, activation_of(classifier, activation), **how)
        self.layout = TokenLayout(0, classifier.config.steps_per_row)

    def run(
        self, paths: Sequence[str], use: Callable[[int, np.ndarray, float], None]
    ) -> List[Failure]:
        """Call `use` with index, scores (steps, C) and seconds of each recording that can be read.

        The last step may reach beyond the end. Returns the other recordings.
        """

        def measure(index: int, scores: Tensor) -> None:
            num_samples = FileRecording(paths[index], self.pipeline.log_mel).num_samples
            use(index, scores.numpy(), num_samples / self.pipeline.log_mel.reading_rate_hz)

        return self.pipeline.run_files(paths, self, measure, "scoring")


def tag_over_time(
    paths: Paths,
    classifier: Union[Classifier, CheckpointPath],
    threshold: Union[float, FilePath] = 0.5,
    **settings: Any,
) -> Tagging:
    """Find what sounds when in recordings of any length.

    Args:
        paths: audio files, folders and manifests (.tsv), as for `eat.tag`; or one.
        classifier: from `eat.load_classifier`, or a checkpoint. If it is one of whole clips, the
            score of a step is that of the window around it.
        threshold: the probability above which a class is there, or the file thresholds.json that
            `eat evaluate --out` wrote.
        settings: `window_seconds`, `hop_seconds` and `activation` of a `Scorer`.

    Returns for each recording its events by onset, a `Detection` each. A ValueError for an
    impossible setting, thresholds of other classes, or a folder without audio.
    """
    if isinstance(classifier, (str, os.PathLike)):
        classifier = pack_linears(load_classifier(classifier))
    scorer, thresholds = Scorer(classifier, **settings), read_thresholds(threshold, classifier)
    found = list_inputs(paths)
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
    scorer, thresholds = Scorer(classifier, **settings), read_thresholds(threshold, classifier)
    finder, num_samples = EventFinder(classifier.step_seconds, *thresholds), 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal num_samples
        for chunk in chunks:
            num_samples += len(chunk)
            yield chunk

    with suppress(KeyboardInterrupt):
        for scores in scorer.pipeline.run_stream(counted(), scorer):
            yield from _named(finder.push(scores.numpy()), classifier, math.inf)
    end = num_samples / classifier.log_mel.reading_rate_hz
    yield from _named(finder.finish(), classifier, end)


def _named(events: Iterable[Detection], classifier: Classifier, end: float) -> List[Detection]:
    """Events with the names of their classes, none of which ends after the recording."""
    names = class_names(classifier)
    return [e._replace(offset=min(e.offset, end), label=names[e.label]) for e in events]
