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
them, and the median filter, with `choose_thresholds` on validation data, never on test data.

Recordings have names. `scores` holds the (steps, C) probabilities of each, `events` what sounds in
it, `durations` its length in seconds; `classes` are the names of the C classes. The libraries come
with the extra `[events]`.
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

Scores = Mapping[str, np.ndarray]
Events = Mapping[str, Sequence[Event]]
Durations = Mapping[str, float]


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


def event_scores(
    scores: Scores,
    events: Events,
    durations: Durations,
    step_seconds: float,
    classes: Sequence[str],
    operating_point: Optional[OperatingPoint] = None,
    names: Collection[str] = ("mAP", *EVENT_METRICS),
) -> Dict[str, float]:
    """The metrics `names` of recordings; those of F1 only with an operating point.

    The operating point's median filter also comes before PSDS. NaN if there are no events.
    """
    data = _Data.of(scores, events, durations, step_seconds, classes)
    point, found = operating_point, {}
    if not data.classes:
        return dict.fromkeys(names, float("nan"))
    if "mAP" in names:
        found["mAP"] = mean_over_classes(average_precisions(*data.steps())).value
    f1 = [name for name in ("event_f1", "segment_f1") if name in names]
    if point is not None and f1:
        spans = {name: find_events(scores[name], step_seconds, *point) for name in data.scores}
        found |= {name: data.f1(name, spans) for name in f1}
    if {"psds", "psds_macro"} & {*names}:
        found |= data.psds(1 if point is None else point.median_steps)
    return {name: found[name] for name in names if name in found}


def choose_thresholds(
    scores: Scores,
    events: Events,
    durations: Durations,
    step_seconds: float,
    classes: Sequence[str],
) -> OperatingPoint:
    """The thresholds (C,) and the length of the median filter with the highest event F1.

    Thresholds are tried in steps of 0.001, and lengths of 1, 3, 7, 15, ... steps up to 1.2 s.
    """
    from sed_scores_eval.collar_based import best_fscore

    # Trying every score that there is would take ten times as long.
    rounded = {name: np.round(values, 3) for name, values in scores.items()}
    data = _Data.of(rounded, events, durations, step_seconds, classes)
    collars = {"onset_collar": COLLAR_SECONDS, "offset_collar": COLLAR_SECONDS}
    best, highest, steps = OperatingPoint(np.full(len(classes), _DEFAULT_THRESHOLD), 1), -1.0, 1
    while data.classes and steps * step_seconds <= max(step_seconds, _LONGEST_MEDIAN_SECONDS):
        found, _, _, chosen, _ = best_fscore(
            data.frames(steps), data.ground_truth(), **collars, offset_collar_rate=LENGTH_SHARE
        )
        if found["macro_average"] > highest:
            highest, thresholds = found["macro_average"], best.thresholds.copy()
            thresholds[data.classes] = [chosen[str(index)] for index in data.classes]
            best = OperatingPoint(thresholds, steps)
        steps = 2 * steps + 1
    return best


def stack_steps(*data: Any) -> Tuple[np.ndarray, np.ndarray]:
    """The steps of all recordings one after the other: scores and whether a class is there (N, C).

    The arguments are those of `choose_thresholds`.
    """
    return _Data.of(*data).steps()


def median_filter(scores: np.ndarray, num_steps: int) -> np.ndarray:
    """(steps, C) -> (steps, C): the median of an odd number of steps around each; the first and the
    last step are repeated beyond the ends.
    """
    if num_steps == 1:
        return scores
    padded = np.pad(scores, ((num_steps // 2, num_steps // 2), (0, 0)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, num_steps, axis=0), axis=-1)


class _Data(NamedTuple):
    """Recordings with their events, as the libraries take them; classes go by their index."""

    scores: Dict[str, np.ndarray]  # as many steps as the recording has
    events: Dict[str, List[Event]]  # merged, and none beyond the end
    durations: Durations
    step_seconds: float
    classes: List[int]  # those that have events

    @classmethod
    def of(
        cls, scores: Scores, events: Events, durations: Durations, step: float, classes: Any
    ) -> "_Data":
        kept, merged = {}, {}
        for name, values in scores.items():
            if values.shape[1:] != (len(classes),) or np.isnan(values).any():
                raise ValueError(
                    f"scores of {name}: found shape {values.shape} with {np.isnan(values).sum()}"
                    f" NaN, expected (steps, {len(classes)}) without; has the training diverged?"
                )
            # A step that is shorter than 1 µs is one of rounding.
            num_steps = int(np.ceil((durations[name] - 1e-6) / step))
            kept[name] = values[:num_steps].astype(np.float64)
            merged[name] = merge_events(crop_events(events[name], 0.0, durations[name]))
        present = {event.label for found in merged.values() for event in found}
        return cls(kept, merged, {name: durations[name] for name in kept}, step, sorted(present))

    def steps(self) -> Tuple[np.ndarray, np.ndarray]:
        targets = []
        for name, x in self.scores.items():
            timing = len(x), self.step_seconds, self.durations[name]
            targets.append(cover_steps(self.events[name], *timing, x.shape[1]))
        return np.concatenate([*self.scores.values()]), np.concatenate(targets) >= 0.5

    def f1(self, name: str, estimated: Mapping[str, Sequence[Any]]) -> float:
        """The mean over classes of what sed_eval measures; 0 for a class that is never found."""
        from sed_eval.sound_event import EventBasedMetrics, SegmentBasedMetrics

        labels, collars = list(map(str, self.classes)), (COLLAR_SECONDS, LENGTH_SHARE)
        is_by_event = name == "event_f1"
        if is_by_event:
            metrics = EventBasedMetrics(labels, True, True, *collars)  # of onset and offset
        else:
            metrics = SegmentBasedMetrics(labels, time_resolution=SEGMENT_SECONDS)
        for recording, duration in self.durations.items():
            found = crop_events((e[:3] for e in estimated[recording]), 0.0, duration)
            lists = (
                [
                    {"event_onset": onset, "event_offset": offset, "event_label": str(label)}
                    for onset, offset, label in part
                    if label in self.classes
                ]
                for part in (self.events[recording], found)
            )
            metrics.evaluate(*lists, *(() if is_by_event else (duration,)))
        values = [metrics.class_wise_f_measure(label)["f_measure"] for label in labels]
        return float(np.nan_to_num(values).mean())

    def psds(self, median_steps: int) -> Dict[str, float]:
        from sed_scores_eval.intersection_based import psds

        data = self.frames(median_steps), self.ground_truth(), self.durations
        value, by_class, *_ = psds(*data, **PSDS_SCENARIO_1)
        return {"psds": float(value), "psds_macro": float(np.mean(list(by_class.values())))}

    def frames(self, median_steps: int) -> Dict[str, Any]:
        """The scores of sed_scores_eval; its last step ends with the recording."""
        from sed_scores_eval.base_modules.scores import create_score_dataframe

        labels, found = list(map(str, self.classes)), {}
        for name, values in self.scores.items():
            edges = np.arange(len(values) + 1) * self.step_seconds
            edges[-1] = min(edges[-1], self.durations[name])
            values = median_filter(values[:, self.classes], median_steps)
            found[name] = create_score_dataframe(values, edges, labels)
        return found

    def ground_truth(self) -> Dict[str, List[Any]]:
        return {
            name: [(onset, offset, str(label)) for onset, offset, label in events]
            for name, events in self.events.items()
        }
