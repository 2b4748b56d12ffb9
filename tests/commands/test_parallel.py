import threading
import time

import pytest

from eat.commands.parallel import map_in_threads


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("num_items", [0, 1, 100])
def test_results_come_in_the_order_of_the_items(num_workers, num_items, capsys):
    items = list(range(num_items))

    def square_slowly(item):
        time.sleep(0.001 * (item % 3))
        return item**2

    results = map_in_threads(square_slowly, items, num_workers, "squaring")
    assert list(results) == [item**2 for item in items]
    assert capsys.readouterr() == ("", "")  # no progress bar where stderr is no terminal


def test_each_thread_is_prepared_before_it_works():
    local = threading.local()

    def prepare():
        local.is_ready = True

    results = map_in_threads(lambda _: local.is_ready, range(50), 3, "working", prepare)
    assert list(results) == [True] * 50


def test_errors_reach_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 // item, [2, 1, 0], 2, "dividing"))


def test_no_thread_is_left_after_an_early_end():
    before = threading.active_count()
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.005)

    results = map_in_threads(work, range(1000), 2, "working")
    next(results)
    results.close()
    assert threading.active_count() == before
    assert len(started) < 200
