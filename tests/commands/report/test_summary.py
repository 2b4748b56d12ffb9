"""The numbers of a report, from logs that are made up."""

import numpy as np
import pytest

from eat.figures.report.summary import as_duration, list_facts, list_warnings, measure_speed
from eat.training.run_folder import Run


def make_run(**columns):
    updates = 10.0 * np.arange(1, 1 + len(next(iter(columns.values()))))
    values = {name: np.array(column, dtype=float) for name, column in columns.items()}
    return Run("run", log={"train_inner": {"num_updates": updates, **values}})


def test_speed_is_the_median_without_the_first_line():
    run = make_run(ups=[0.1, 2, 2, 4], bsz=[24] * 4, train_wall=[90, 5, 4, 2])
    speed = measure_speed(run)
    assert (speed.updates_per_second, speed.clips_per_second) == (2, 48)
    assert speed.share_in_updates is None  # 12.5 s are too short for whole seconds


def test_the_share_of_waiting_for_data():
    run = make_run(ups=[0.1, 0.1, 0.1], bsz=[48] * 3, train_wall=[100, 80, 70])
    assert measure_speed(run).share_in_updates == pytest.approx(0.75)


def test_a_log_without_speed_has_none():
    assert measure_speed(make_run(loss=[1, 2])) is None
    assert measure_speed(Run("run")) is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prediction_var": [0.5, 0.01]}, "spread of the predictions is 0.01: the model has coll"),
        ({"target_var": [1.0, 0.05]}, "spread of the targets is 0.05"),
        ({"loss": [3, np.inf, 1]}, "no finite number in 1 of 3 log lines"),
        ({"skipped_updates": [0, 2]}, "2 updates of the last start were skipped"),
    ],
)
def test_what_is_wrong_is_said(columns, message):
    (warning,) = list_warnings(make_run(**columns))
    assert message in warning


def test_a_healthy_run_has_no_warnings():
    assert list_warnings(make_run(loss=[3, 2], target_var=[1, 1], prediction_var=[0.4, 0.8])) == []
    assert list_warnings(Run("run")) == []


def test_fine_tuning_shows_its_loss():
    facts = {fact.name: (fact.value, fact.remark) for fact in list_facts(make_run(loss=[3.5, 2]))}
    assert facts == {"updates": ("20", ""), "loss": ("2", "3.5 at first")}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (80, "1 min 20 s"), (7500, "2 h 5 min"), (1e5, "1 d 3 h")],
)
def test_durations(seconds, text):
    assert as_duration(seconds) == text
