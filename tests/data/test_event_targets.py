import numpy as np
import pytest

from eat.data.event_targets import cover_steps, crop_events, labels_of, merge_events, roll_events
from eat.data.events import Event, EventTable


def test_a_step_s_target_is_the_share_of_it_that_is_covered():
    events = [Event(0.25, 1.5, 0), Event(1.0, 1.75, 0), Event(2.5, 9.0, 1)]
    found = cover_steps(events, 5, 1.0, 3.5, 2)
    assert found.dtype == np.float32
    # The events of a class overlap: what both cover counts once. The last step lasts half as long.
    assert found.T.tolist() == [[0.75, 0.75, 0, 0, 0], [0, 0, 0.5, 1, 0]]


def test_events_of_a_part():
    events = [Event(0.0, 1.0, 0), Event(0.5, 4.0, 1), Event(2.0, 2.5, 2), Event(3.0, 5.0, 0)]
    assert crop_events(events, 1.0, 2.0) == [Event(0.0, 2.0, 1), Event(1.0, 1.5, 2)]
    assert crop_events([(0.5, 4.0, 1)], 0.0, 2.0) == [Event(0.5, 2.0, 1)]


def test_an_event_that_is_rotated_beyond_the_end_goes_on_at_the_beginning():
    rolled = roll_events([Event(1.0, 2.0, 0), Event(0.0, 3.0, 1)], 1.5, 3.0)
    halves = [Event(2.5, 3.0, 0), Event(0.0, 0.5, 0)]
    assert rolled == [*halves, Event(1.5, 3.0, 1), Event(0.0, 1.5, 1)]


@pytest.mark.parametrize("shift", [3, -4, 0, 11])
def test_targets_are_rotated_as_frames_are(shift):
    generator = np.random.default_rng(0)
    onsets = generator.uniform(0, 2, 20)
    events = [Event(t, t + generator.uniform(0, 1), int(generator.integers(3))) for t in onsets]
    events = crop_events(events, 0, 2.5)
    before = cover_steps(events, 10, 0.25, 2.5, 3)
    after = cover_steps(roll_events(events, shift * 0.25, 2.5), 10, 0.25, 2.5, 3)
    assert np.allclose(after, np.roll(before, shift, axis=0), atol=1e-6)


def test_touching_events_of_a_class_become_one():
    events = [Event(2.0, 3.0, 0), Event(0.0, 2.0, 0), Event(1.0, 1.5, 0), Event(1.0, 2.5, 1)]
    assert merge_events(events) == [Event(0.0, 3.0, 0), Event(1.0, 2.5, 1)]


def test_classes_of_clips_with_events():
    starts, times = np.array([0, 2, 2, 3]), np.array([[0, 1], [1, 2], [0, 1]])
    labels = labels_of(EventTable(starts, times, np.array([2, 2, 0]), 4))
    assert [labels.classes(clip).tolist() for clip in range(3)] == [[2], [], [0]]
    assert labels.counts.tolist() == [1, 0, 1, 0]
