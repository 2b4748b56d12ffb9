import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from eat.features.batching import make_batches, map_ahead


def lengths_of(batches):
    return [[length for length, _ in batch] for batch in batches]


def test_batches_hold_similar_lengths_the_longest_first():
    items = [(length, name) for name, length in enumerate([5, 100, 3, 60, 7, 5, 64])]
    batches = make_batches(items, lambda item: item[0], batch_size=3, max_length=64)
    assert lengths_of(batches) == [[100], [64], [60], [7, 5, 5], [3]]
    assert batches[3][1:] == [(5, 0), (5, 5)]  # equal lengths keep their order


@pytest.mark.parametrize("batch_size, max_length", [(1, 1000), (4, 64), (100, 64), (100, 1)])
def test_no_batch_is_larger_than_allowed(batch_size, max_length):
    batches = make_batches(range(1, 90), lambda item: item, batch_size, max_length)
    assert sorted(item for batch in batches for item in batch) == list(range(1, 90))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(batch) <= max_length


def test_no_items():
    assert make_batches([], len, 4, 64) == []


@pytest.mark.parametrize("num_batches", [0, 1, 2, 30])
def test_outcomes_come_in_order(num_batches):
    def work(batch):
        time.sleep(0.001 * (batch[0] % 3))
        return [item**2 for item in batch]

    batches = [[index, 100 + index] for index in range(num_batches)]
    with ThreadPoolExecutor(3) as executor:
        outcomes = list(map_ahead(batches, work, executor, num_ahead=4))
    assert outcomes == [(batch, [item**2 for item in batch]) for batch in batches]


def test_only_some_batches_are_worked_on_ahead():
    started = []
    with ThreadPoolExecutor(2) as executor:
        outcomes = map_ahead([[index] for index in range(50)], started.extend, executor, 3)
        next(outcomes)
        time.sleep(0.05)
        assert sorted(started) == [0, 1, 2, 3]
        next(outcomes)
        time.sleep(0.05)
        assert sorted(started) == [0, 1, 2, 3, 4]


def test_a_single_batch_is_done_by_the_caller():
    with ThreadPoolExecutor(2) as executor:
        outcomes = list(map_ahead([[1]], lambda _: threading.current_thread(), executor, 3))
    assert outcomes == [([1], threading.current_thread())]


def test_errors_reach_the_caller():
    with ThreadPoolExecutor(2) as executor, pytest.raises(ZeroDivisionError):
        list(map_ahead([[1], [0], [2]], lambda batch: 1 / batch[0], executor, 3))
