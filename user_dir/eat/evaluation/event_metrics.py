"""How well scores over time find events, by the libraries of sound event detection.

    mAP         average precision of the steps, mean over classes; positive are the steps of which
                an event covers half or more
    event_f1    F1 of events (sed_eval): onset within 200 ms, offset within 200 ms or 20 % of the
                event's length, whichever is more
    segment_f1  F1 of segments of 1 s (sed_eval)
    psds        polyphonic sound detection score (sed_scores_eval), scenario 1 of DCASE's task 4:
                detection and ground truth tolerance 0.7, 100 false alarms per hour; the standard
                deviation over classes is subtracted
    psds_macro  the same without that: the mean of the classes' values, as reported for AudioSet

All weigh classes alike (macro). Classes without events are left out of all metrics, and
events of one class that overlap or touch count as one. F1 needs a threshold for each class: choose
them, and the median filter, on validation data, never on test data. The libraries come with the
extra `[events]`.
"""

import importlib.util
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from eat.data.event_targets import cover_steps, crop_events, merge_events
from eat.data.events import Event

from .finding import find_events
from .metrics import average_precisions, mean_over_classes

EVENT_METRICS = ("event_f1", "segment_f1", "psds", "psds_macro")
COLLAR_SECONDS, LENGTH_SHARE, SEGMENT_SECONDS = 0.2, 0.2, 1.0
PSDS_SCENARIO_1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "alpha_st": 1.0}
PSDS_SCENARIO_1["max_efpr"] = 100.0  # false alarms per hour
_DEFAULT_THRESHOLD = 0.5  # of a class without events to choose one by
_LONGEST_MEDIAN_SECONDS = 1.2


class OperatingPoint(NamedTuple):
    """What makes events of scores."""

    thresholds: np.ndarray  # (C,); an event is where the filtered score is above
    median_steps: int  # length of the median filter, odd; 1: none


def require_event_metrics() -> None:
    """Raise a ModuleNotFoundError that says what to install, before long work needs it."""
    names = ("sed_eval", "sed_scores_eval", "pkg_resources")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"found no {' and no '.join(missing)}, expected them for event_f1, segment_f1 and psds:"
            " install this package with its extra [events], which has the versions that fit"
        )


class Recordings:
    """Scores over time of recordings, and what sounds in them, by the names of the recordings.

    `scores` are (steps, C) probabilities of the C `classes`, `durations` lengths in seconds. What
    is beyond the end does not count. A ValueError names scores of another shape, or with NaN.
    """

    def __init__(
        self,
        scores: Mapping[str, np.ndarray],
        events: Mapping[str, Sequence[Event]],
        durations: Mapping[str, float],
        step_seconds: float,
        classes: Sequence[str],
    ) -> None:
        for name, values in scores.items():
            if values.shape[1:] != (len(classes),) or np.isnan(values).any():
                raise ValueError(
                    f"scores of {name}: found shape {values.shape} with {np.isnan(values).sum()}"
                    f" NaN, expected (steps, {len(classes)}) without; has the training diverged?"
                )
        self._scores, self._step_seconds, self._num_classes = scores, step_seconds, len(classes)
        self._durations = {name: durations[name] for name in scores}
        self._events: Dict[str, List[Event]] = {
            name: merge_events(crop_events(events[name], 0.0, durations[name])) for name in scores
        }
        present = {event.label for found in self._events.values() for event in found}
        self._classes = sorted(present)  # the libraries know them by their index

    def __len__(self) -> int:
        return len(self._scores)

    def measure(
        self,
        point: Optional[OperatingPoint] = None,
        names: Collection[str] = ("mAP", *EVENT_METRICS),
    ) -> Dict[str, float]:
        """The metrics `names`; those of F1 only with an operating point.

        Its median filter also comes before PSDS. NaN if there are no events.
        """
        found = {}
        if not self._classes:
            return dict.fromkeys(names, float("nan"))
        if "mAP" in names:
            found["mAP"] = mean_over_classes(average_precisions(*self.steps()))
        f1 = [name for name in ("event_f1", "segment_f1") if name in names]
        if point is not None and f1:
            step, scores = self._step_seconds, self._scores.items()
            spans = {name: find_events(values, step, *point) for name, values in scores}
            found |= {name: self._f1(name, spans) for name in f1}
        if {"psds", "psds_macro"} & {*names}:
            found |= self._psds(1 if point is None else point.median_steps)
        return {name: found[name] for name in names if name in found}

    def choose_thresholds(self) -> OperatingPoint:
        """The thresholds (C,) and the length of the median filter with the highest event F1.

        Thresholds are tried in steps of 0.001, and lengths of 1, 3, 7, 15, ... steps up to 1.2 s.
        """
        from sed_scores_eval.collar_based import best_fscore

        collars = {"onset_collar": COLLAR_SECONDS, "offset_collar": COLLAR_SECONDS}
        collars["offset_collar_rate"] = LENGTH_SHARE
        thresholds, highest, steps = np.full(self._num_classes, _DEFAULT_THRESHOLD), -1.0, 1
        best = OperatingPoint(thresholds, 1)
        longest = max(self._step_seconds, _LONGEST_MEDIAN_SECONDS)
        while self._classes and steps * self._step_seconds <= longest:
            # Trying every score that there is would take ten times as long.
            data = self._frames(steps, decimals=3), self._ground_truth()
            found, _, _, chosen, _ = best_fscore(*data, **collars)
            if found["macro_average"] > highest:
                highest, thresholds = found["macro_average"], thresholds.copy()
                thresholds[self._classes] = [chosen[str(index)] for index in self._classes]
                best = OperatingPoint(thresholds, steps)
            steps = 2 * steps + 1
        return best

    def steps(self) -> Tuple[np.ndarray, np.ndarray]:
        """All steps one after the other: scores and whether a class is there, (N, C) each."""
        scores, targets = [], []
        for name in self._scores:
            scores.append(self._inside(name).astype(np.float64))
            timing = len(scores[-1]), self._step_seconds, self._durations[name]
            targets.append(cover_steps(self._events[name], *timing, self._num_classes))
        return np.concatenate(scores), np.concatenate(targets) >= 0.5

    def _inside(self, name: str) -> np.ndarray:
        """The scores of as many steps as a recording has."""
        # A step that is shorter than 1 µs is one of rounding.
        num_steps = int(np.ceil((self._durations[name] - 1e-6) / self._step_seconds))
        return self._scores[name][:num_steps]

    def _f1(self, name: str, estimated: Mapping[str, Sequence[Any]]) -> float:
        """The mean over classes of what sed_eval measures; 0 for a class that is never found."""
        from sed_eval.sound_event import EventBasedMetrics, SegmentBasedMetrics

        labels, collars = list(map(str, self._classes)), (COLLAR_SECONDS, LENGTH_SHARE)
        is_by_event = name == "event_f1"
        if is_by_event:
            metrics = EventBasedMetrics(labels, True, True, *collars)  # of onset and offset
        else:
            metrics = SegmentBasedMetrics(labels, time_resolution=SEGMENT_SECONDS)
        for recording, duration in self._durations.items():
            found = crop_events((e[:3] for e in estimated[recording]), 0.0, duration)
            lists = (
                [
                    {"event_onset": onset, "event_offset": offset, "event_label": str(label)}
                    for onset, offset, label in part
                    if label in self._classes
                ]
                for part in (self._events[recording], found)
            )
            metrics.evaluate(*lists, *(() if is_by_event else (duration,)))
        values = [metrics.class_wise_f_measure(label)["f_measure"] for label in labels]
        return float(np.nan_to_num(values).mean())

    def _psds(self, median_steps: int) -> Dict[str, float]:
        from sed_scores_eval.intersection_based import psds

        data = self._frames(median_steps), self._ground_truth(), self._durations
        value, by_class, *_ = psds(*data, **PSDS_SCENARIO_1)
        return {"psds": float(value), "psds_macro": float(np.mean(list(by_class.values())))}

    def _frames(self, median_steps: int, decimals: Optional[int] = None) -> Dict[str, Any]:
        """The scores of sed_scores_eval; its last step ends with the recording."""
        from sed_scores_eval.base_modules.scores import create_score_dataframe

        labels, found = list(map(str, self._classes)), {}
        for name in self._scores:
            values = self._inside(name)[:, self._classes]
            edges = np.arange(len(values) + 1) * self._step_seconds
            edges[-1] = min(edges[-1], self._durations[name])
            values = values if decimals is None else np.round(values, decimals)
            values = median_filter(values.astype(np.float64), median_steps)
            found[name] = create_score_dataframe(values, edges, labels)
        return found

    def _ground_truth(self) -> Dict[str, List[Any]]:
        return {
            name: [(onset, offset, str(label)) for onset, offset, label in events]
            for name, events in self._events.items()
        }


def median_filter(scores: np.ndarray, num_steps: int) -> np.ndarray:
    """(steps, C) -> (steps, C): the median of an odd number of steps around each; the first and the
    last step are repeated beyond the ends.
    """
    if num_steps == 1:
        return scores
    padded = np.pad(scores, ((num_steps // 2, num_steps // 2), (0, 0)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, num_steps, axis=0), axis=-1)
