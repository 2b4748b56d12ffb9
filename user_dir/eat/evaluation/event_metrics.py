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
from typing import (
    Any,
    Collection,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

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
_LONGEST_MEDIAN_SECONDS, _THRESHOLD_DECIMALS = 1.2, 3

Scores = Mapping[str, np.ndarray]
Events = Mapping[str, Sequence[Event]]
Durations = Mapping[str, float]


class OperatingPoint(NamedTuple):
    """What makes events of scores."""

    thresholds: np.ndarray  # (C,); an event is where the filtered score is above
    median_steps: int  # length of the median filter, odd; 1: none


def require_event_metrics() -> None:
    """Raise a ModuleNotFoundError that says what to install, before long work needs it."""
    missing = [n for n in ("sed_eval", "sed_scores_eval") if importlib.util.find_spec(n) is None]
    if missing:
        raise ModuleNotFoundError(
            f"found no {' and no '.join(missing)}, expected them for event_f1, segment_f1 and psds:"
            " pip install sed_eval sed_scores_eval, or this package with its extra [events]"
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
    found = {}
    if "mAP" in names:
        found["mAP"] = data.mean_average_precision()
    if operating_point is not None:
        estimated = {
            name: find_events(scores[name], step_seconds, *operating_point) for name in data.scores
        }
        for name, measure in (("event_f1", data.event_f1), ("segment_f1", data.segment_f1)):
            if name in names:
                found[name] = measure(estimated)
    if {"psds", "psds_macro"} & {*names}:
        values = data.psds(operating_point.median_steps if operating_point else 1)
        found |= {name: value for name, value in values.items() if name in names}
    return found


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
    rounded = {name: np.round(values, _THRESHOLD_DECIMALS) for name, values in scores.items()}
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
        cls,
        scores: Scores,
        events: Events,
        durations: Durations,
        step_seconds: float,
        classes: Sequence[str],
    ) -> "_Data":
        kept, merged = {}, {}
        for name, values in scores.items():
            # A step that is shorter than 1 µs is one of rounding.
            num_steps = int(np.ceil((durations[name] - 1e-6) / step_seconds))
            if values.shape[1:] != (len(classes),) or np.isnan(values).any():
                raise ValueError(
                    f"scores of {name}: found shape {values.shape} with {np.isnan(values).sum()}"
                    f" NaN, expected (steps, {len(classes)}) without; has the training diverged?"
                )
            kept[name] = values[:num_steps].astype(np.float64)
            merged[name] = merge_events(crop_events(events[name], 0.0, durations[name]))
        present = {event.label for found in merged.values() for event in found}
        return cls(kept, merged, durations, step_seconds, sorted(present))

    def mean_average_precision(self) -> float:
        if not self.classes:
            return float("nan")
        return mean_over_classes(average_precisions(*self.steps())).value

    def steps(self) -> Tuple[np.ndarray, np.ndarray]:
        targets = [
            cover_steps(
                self.events[name], len(x), self.step_seconds, self.durations[name], x.shape[1]
            )
            for name, x in self.scores.items()
        ]
        return np.concatenate([*self.scores.values()]), np.concatenate(targets) >= 0.5

    def event_f1(self, estimated: Events) -> float:
        from sed_eval.sound_event import EventBasedMetrics

        return self._f1(
            EventBasedMetrics(
                list(map(str, self.classes)),
                t_collar=COLLAR_SECONDS,
                percentage_of_length=LENGTH_SHARE,
            ),
            estimated,
        )

    def segment_f1(self, estimated: Events) -> float:
        from sed_eval.sound_event import SegmentBasedMetrics

        labels = list(map(str, self.classes))
        return self._f1(
            SegmentBasedMetrics(labels, time_resolution=SEGMENT_SECONDS), estimated, True
        )

    def _f1(self, metrics: Any, estimated: Events, has_length: bool = False) -> float:
        """The mean over classes of what sed_eval measures; 0 for a class that is never found."""
        if not self.classes:
            return float("nan")
        for name, duration in self.durations.items():
            if name in self.scores:
                found = crop_events([Event(*e[:3]) for e in estimated[name]], 0.0, duration)
                length = {"evaluated_length_seconds": duration} if has_length else {}
                metrics.evaluate(
                    *(list(self._as_dicts(name, part)) for part in (self.events[name], found)),
                    **length,
                )
        values = [metrics.class_wise_f_measure(str(index))["f_measure"] for index in self.classes]
        return float(np.nan_to_num(values).mean())

    def _as_dicts(self, name: str, events: Sequence[Event]) -> Iterator[Dict[str, Any]]:
        for onset, offset, label in events:
            if label in self.classes:
                times = {"event_onset": onset, "event_offset": offset}
                yield {"filename": name, **times, "event_label": str(label)}

    def psds(self, median_steps: int) -> Dict[str, float]:
        from sed_scores_eval.intersection_based import psds

        if not self.classes:
            return dict.fromkeys(("psds", "psds_macro"), float("nan"))
        durations = {name: self.durations[name] for name in self.scores}
        data = self.frames(median_steps), self.ground_truth(), durations
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
