"""The bar says how fast, how long still, and what went wrong; without a terminal there is none."""

import io
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from eat.work import map_ahead, map_in_threads, show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def is_odd(number):
    return number % 2 == 1


def test_every_result_is_passed_on_and_nothing_is_written_without_a_terminal(capsys):
    assert list(show_progress(iter(range(5)), 5, "counting", failed=is_odd)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_rate_time_left_and_problems(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for _ in show_progress(range(5), 5, "counting", unit="number", failed=is_odd):
        time.sleep(0.12)
    shown = sys.stderr.getvalue().split("\r")
    assert any("counting:  40%" in line and "2/5" in line for line in shown)
    middle = next(line for line in shown if "4/5" in line)
    assert "number/s" in middle and "00:00<00:0" in middle  # so far, and left
    assert "1 failed" in middle or "2 failed" in middle
    assert "2 failed" in shown[-1]


def test_no_problem_is_not_spoken_of(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(show_progress(range(3), 3, "counting", failed=lambda _: False))
    assert "failed" not in sys.stderr.getvalue()


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


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="num_workers: found 0, expected 1 or more"):
        list(map_in_threads(abs, [1], 0, "working"))


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


def test_errors_of_work_ahead_reach_the_caller():
    with ThreadPoolExecutor(2) as executor, pytest.raises(ZeroDivisionError):
        list(map_ahead([[1], [0], [2]], lambda batch: 1 / batch[0], executor, 3))
