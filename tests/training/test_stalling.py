import threading
import time

import pytest

from eat.training import stalling
from eat.training.stalling import StallGuard

LIMIT_SECONDS = 0.3


@pytest.fixture
def ended(monkeypatch):
    """An event that is set when the process would have ended with status 1."""
    ended = threading.Event()
    monkeypatch.setattr(stalling.os, "_exit", lambda status: status == 1 and ended.set())
    return ended


@pytest.fixture
def guard(tmp_path):
    return StallGuard(LIMIT_SECONDS / 60, str(tmp_path))


def test_a_worker_that_finishes_no_batch_tells_where_it_waits_and_ends(
    guard, ended, tmp_path, capfd
):
    with guard.watching():
        assert not ended.wait(2 * LIMIT_SECONDS)  # the first batch is still being read
        for _ in range(10):
            guard.begin_batch()
            assert not ended.wait(LIMIT_SECONDS / 5)
        assert ended.wait(10 * LIMIT_SECONDS)
    log = (tmp_path / "train.log").read_text()
    assert log.startswith("error: task.stall_minutes: worker 0 has finished no batch for 0.005 min")
    assert "Another worker may have been stopped" in log.splitlines()[0]
    assert "in test_a_worker_that_finishes_no_batch" in log
    assert log.splitlines()[0] in capfd.readouterr().err


def test_what_lies_between_epochs_and_after_the_end_is_not_watched(guard, ended):
    with guard.watching():
        guard.begin_batch()
    without_limit = StallGuard(0, ".")
    with without_limit.watching():
        without_limit.begin_batch()
        assert not ended.wait(3 * LIMIT_SECONDS)


def test_a_disk_that_does_not_answer_does_not_keep_it_alive(guard, ended, monkeypatch):
    monkeypatch.setattr(stalling, "_SECONDS_TO_TELL", 0.1)
    monkeypatch.setattr(StallGuard, "_tell", lambda guard: time.sleep(60))
    with guard.watching():
        guard.begin_batch()
        assert ended.wait(20 * LIMIT_SECONDS)
