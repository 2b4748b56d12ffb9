"""The numbers of a report, from logs that are made up."""

import numpy as np
import pytest

from eat.figures.curves import training_columns
from eat.figures.report import (
    Rank,
    as_duration,
    find_ranks,
    list_warnings,
    measure_speed,
    target_seconds,
)
from eat.training.run import Run, TrainingState


def test_seconds_of_clips_are_those_of_the_recording():
    cfg = {"task": {"target_length": 1024, "hop_ms": 5.0, "speed": 0.5}}
    assert target_seconds(Run("run", state=TrainingState(cfg, 0, 0, None, 0.0))) == 2.56
    assert target_seconds(Run("run")) == 0


def make_columns(**columns):
    updates = 10.0 * np.arange(1, 1 + len(next(iter(columns.values()))))
    values = {name: np.array(column, dtype=float) for name, column in columns.items()}
    return training_columns({"train_inner": {"num_updates": updates, **values}, "train": {}})


def test_speed_is_the_median_without_the_first_line():
    speed = measure_speed(make_columns(ups=[0.1, 2, 2, 4], bsz=[24] * 4, train_wall=[90, 5, 4, 2]))
    assert (speed["updates_per_second"], speed["clips_per_second"]) == (2, 48)
    assert speed["share_waiting"] is None  # 12.5 s are too short for whole seconds


def test_the_share_of_waiting_for_data():
    columns = make_columns(ups=[0.1, 0.1, 0.1], bsz=[48] * 3, train_wall=[100, 80, 70])
    assert measure_speed(columns)["share_waiting"] == pytest.approx(0.25)


@pytest.mark.parametrize("columns", [make_columns(loss=[1, 2]), training_columns(None)])
def test_a_log_without_speed_has_none(columns):
    assert measure_speed(columns) == {}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prediction_var": [0.5, 0.01]}, "spread of the predictions is 0.01: the model has coll"),
        ({"target_var": [1.0, 0.05]}, "spread of the targets is 0.05"),
        ({"loss": [3, np.inf, 1]}, "not finite in 1 of 3 log lines"),
        ({"skipped_updates": [0, 2]}, "2 updates since the last start were skipped"),
    ],
)
def test_what_is_wrong_is_said(columns, message):
    (warning,) = list_warnings(make_columns(**columns))
    assert message in warning


def test_a_healthy_run_has_no_warnings():
    healthy = make_columns(loss=[3, 2], target_var=[1, 1], prediction_var=[0.4, 0.8])
    assert [*list_warnings(healthy), *list_warnings(training_columns(None))] == []


def test_few_used_directions_are_warned_of_though_the_spread_is_large():
    names = ("cls_rank", "max_cls_rank", "patch_rank", "max_patch_rank")
    valid = dict(zip(names, np.array([[9, 3.3], [24, 24], [14, 12.8], [24, 24]]), strict=True))
    columns = make_columns(target_var=[0.97, 0.98])
    ranks = find_ranks({"train_inner": columns, "valid": valid})
    assert ranks == [Rank("CLS tokens", 3.3, 24), Rank("patches", 12.8, 24)]
    (warning,) = list_warnings(columns, ranks)
    assert warning.startswith("The CLS tokens of the validation clips use 3.3 of 24 possible dir")
    assert find_ranks({"train_inner": columns}) == find_ranks(None) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (80, "1 min 20 s"), (7500, "2 h 5 min"), (1e5, "1 d 3 h")],
)
def test_durations(seconds, text):
    assert as_duration(seconds) == text
