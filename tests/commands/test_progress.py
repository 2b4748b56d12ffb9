"""The bar says how fast, how long still, and what went wrong; without a terminal there is none."""

import io
import sys
import time

from eat.commands.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def is_odd(number):
    return number % 2 == 1


def test_every_result_is_passed_on_and_nothing_is_written_without_a_terminal(capsys):
    assert list(show_progress(iter(range(5)), 5, "counting", is_problem=is_odd)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_rate_time_left_and_problems(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for _ in show_progress(range(5), 5, "counting", unit="number", is_problem=is_odd):
        time.sleep(0.12)
    shown = sys.stderr.getvalue().split("\r")
    assert any("counting:  40%" in line and "2/5" in line for line in shown)
    middle = next(line for line in shown if "4/5" in line)
    assert "number/s" in middle and "00:00<00:0" in middle  # so far, and left
    assert "1 failed" in middle or "2 failed" in middle
    assert "2 failed" in shown[-1]


def test_no_problem_is_not_spoken_of(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(show_progress(range(3), 3, "counting", is_problem=lambda _: False))
    assert "failed" not in sys.stderr.getvalue()
