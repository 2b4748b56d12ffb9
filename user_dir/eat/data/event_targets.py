"""Targets in time: what augmentation does to events, and what share of each step they cover."""

from typing import Dict, Iterable, List

import numpy as np

from .events import Event, EventTable
from .labels import LabelTable


def crop_events(events: Iterable[Event], start: float, duration: float) -> List[Event]:
    """The events of a part of a clip, in seconds from its start; what is outside is cut off."""
    cropped = (
        Event(max(onset - start, 0.0), min(offset - start, duration), label)
        for onset, offset, label in events
    )
    return [event for event in cropped if event.onset < event.offset]


def roll_events(events: Iterable[Event], shift: float, duration: float) -> List[Event]:
    """Events after the clip was rotated by `shift` seconds; one that reaches its end goes on at its
    beginning, as two events. No event may be longer than the clip.
    """
    rolled = []
    for onset, offset, label in events:
        start = (onset + shift) % duration
        end = start + offset - onset
        rolled.append(Event(start, min(end, duration), label))
        if end > duration:
            rolled.append(Event(0.0, end - duration, label))
    return rolled


def merge_events(events: Iterable[Event]) -> List[Event]:
    """Events sorted by onset; those of one class that overlap or touch become one."""
    merged: List[Event] = []
    last: Dict[int, int] = {}  # by class: where its last event stands
    for event in sorted(events):
        index = last.get(event.label)
        if index is not None and event.onset <= merged[index].offset:
            end = max(event.offset, merged[index].offset)
            merged[index] = merged[index]._replace(offset=end)
            continue
        last[event.label] = len(merged)
        merged.append(event)
    return merged


def cover_steps(
    events: Iterable[Event], num_steps: int, step_seconds: float, duration: float, num_classes: int
) -> np.ndarray:
    """The share of each step that events of each class cover, (num_steps, C) float32 in [0, 1].

    Step i lasts from `i * step_seconds`, the last one to the end of the clip at `duration`; steps
    beyond it are 0.
    """
    edges = np.minimum(np.arange(num_steps + 1) * step_seconds, duration)
    widths = np.maximum(np.diff(edges), 1e-9)
    targets = np.zeros((num_steps, num_classes), dtype=np.float32)
    for onset, offset, label in merge_events(events):
        covered = np.minimum(edges[1:], offset) - np.maximum(edges[:-1], onset)
        targets[:, label] += np.maximum(covered, 0) / widths
    return targets.clip(max=1)


def labels_of(events: EventTable) -> LabelTable:
    """The classes of each clip that has events of them."""
    classes = [np.unique(events.classes(clip)) for clip in range(len(events))]
    return LabelTable(
        np.cumsum([0, *map(len, classes)]), np.concatenate(classes), events.num_classes
    )
