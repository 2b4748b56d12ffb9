"""Events in scores over time."""

from typing import Dict, List, NamedTuple, Tuple, Union

import numpy as np

_STEPS_AT_ONCE = 4096  # whose events are found at once, so that the memory does not grow


class Detection(NamedTuple):
    """An event that was found."""

    onset: float  # seconds of the recording
    offset: float
    label: Union[int, str]  # the index of its class; its name where recordings are tagged
    score: float  # the mean probability of its steps


class EventFinder:
    """Finds events in scores that come bit by bit; see `find_events`."""

    def __init__(self, step_seconds: float, thresholds: np.ndarray, median_steps: int = 1) -> None:
        if median_steps < 1 or median_steps % 2 == 0:
            raise ValueError(f"median_steps: found {median_steps}, expected an odd number")
        num_classes = len(thresholds)
        self._step_seconds, self._thresholds = step_seconds, thresholds
        self._half = median_steps // 2
        # Steps from the first that the next decision looks at, and scores not decided on yet.
        self._active = np.empty((0, num_classes), bool)
        self._scores = np.empty((0, num_classes))
        self._num_steps = 0  # decided
        self._is_on = np.zeros(num_classes, bool)  # at the last of them
        self._sums = np.zeros(num_classes)  # of all scores up to there
        self._starts: Dict[int, Tuple[int, float]] = {}  # step and sum, of events that go on

    def push(self, scores: np.ndarray) -> List[Detection]:
        """Take the next (steps, C) scores; returns the events that have ended, in that order."""
        active = scores > self._thresholds
        if len(self._active) == 0:
            active = np.pad(active, ((self._half, 0), (0, 0)), mode="edge")
        return self._decide(scores, active)

    def finish(self) -> List[Detection]:
        """The events that go on until the end."""
        no_scores, after = self._scores[:0], self._active[-1:].repeat(self._half, axis=0)
        ended = self._decide(no_scores, after)
        return ended + self._collect(np.zeros((1, len(self._is_on)), bool), self._sums[None])

    def _decide(self, scores: np.ndarray, active: np.ndarray) -> List[Detection]:
        active = np.concatenate([self._active, active])
        scores = np.concatenate([self._scores, scores])
        size = 2 * self._half + 1
        num_decided = max(0, len(active) - size + 1)
        # The median of a window is above the threshold if most of its steps are.
        counts = np.cumsum(np.pad(active, ((1, 0), (0, 0))), axis=0, dtype=np.int32)
        is_on = counts[size:] - counts[:-size] > self._half
        sums = np.cumsum(np.concatenate([self._sums[None], scores[:num_decided]]), axis=0)
        ended = self._collect(is_on, sums)
        self._active, self._scores = active[num_decided:], scores[num_decided:]
        self._sums, self._num_steps = sums[-1], self._num_steps + num_decided
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
    """Find the events in the scores (steps, C) of a recording, by onset.

    An event of a class is a run of steps whose score, median-filtered over `median_steps` (an odd
    number; 1: not), is above its threshold. The filter repeats the first and the last step beyond
    the ends. `thresholds` are one, or (C,); `step_seconds` is the time from one step to the next.
    """
    thresholds = np.broadcast_to(thresholds, scores.shape[1])
    finder, found = EventFinder(step_seconds, thresholds, median_steps), []
    for first in range(0, len(scores), _STEPS_AT_ONCE):
        found += finder.push(scores[first : first + _STEPS_AT_ONCE])
    return sorted(found + finder.finish())
