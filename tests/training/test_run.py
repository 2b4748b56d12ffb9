"""What a run's folder tells: lines recorded from a run of pretrain_tiny, and its checkpoints."""

import math
import re

import numpy as np
import pytest
import torch

from eat.checkpoint import CheckpointError
from eat.training.run import TrainingState, parse_log_line, read_training_log, read_training_state

TRAIN_INNER_10 = (
    '{"epoch": 1, "update": 0.5, "loss": "34.6317", "frame_loss": "20.7623",'
    ' "utterance_loss": "13.8694", "target_var": "0.9758", "wps": "3651", "ups": "0.37",'
    ' "num_updates": "10", "lr": "6.66667e-05", "gnorm": "20.363", "clip": "100", "wall": "39"}'
)
TRAIN_INNER_20 = '{"epoch": 1, "update": 1.0, "loss": "31.7365", "num_updates": "20"}'
VALID_20 = (
    '{"epoch": 1, "valid_loss": "29.6971", "valid_frame_loss": "16.7737",'
    ' "valid_ema_decay": "0.99804", "valid_num_updates": "20"}'
)
TRAIN_20 = (
    '{"epoch": 1, "train_loss": "33.2212", "train_train_wall": "41", "train_num_updates": "20"}'
)
# Three epochs later fairseq writes every line to common.log_file three times.
LOG_FILE = [
    "{'_name': None, 'common': {'_name': None, 'seed': 1}}",
    "  (blocks): ModuleList((0-5): 6 x Block({}))",
    *[TRAIN_INNER_10] * 3,
    *[TRAIN_INNER_20] * 3,
    'begin validation on "valid" subset',
    *[VALID_20] * 3,
    *[TRAIN_20] * 3,
    "done training in 103.3 seconds",
]


@pytest.fixture
def read(tmp_path):
    """`read(lines)` writes them to train.log and reads it."""

    def write_and_read(*lines):
        (tmp_path / "train.log").write_text("\n".join(lines), encoding="utf-8")
        return read_training_log(tmp_path / "train.log")

    return write_and_read


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "[2026-11-23 07:08:13,788][train_inner][INFO] - ",  # hydra 1.3
        "2026-11-23 07:08:13 | INFO | train_inner | ",  # fairseq's own format
    ],
)
def test_a_line_is_read_whatever_stands_before_it(prefix):
    kind, values = parse_log_line(prefix + TRAIN_INNER_10 + "\n")
    assert kind == "train_inner" and values["num_updates"] == 10
    assert (values["lr"], values["frame_loss"]) == (6.66667e-05, 20.7623)


def test_the_kind_is_told_from_the_prefix_of_the_keys_and_taken_off():
    assert parse_log_line(VALID_20).kind == "valid"
    assert parse_log_line(VALID_20).values == {
        "loss": 29.6971, "frame_loss": 16.7737, "ema_decay": 0.99804, "num_updates": 20,
    }  # fmt: skip
    assert parse_log_line(TRAIN_20).kind == "train"
    assert parse_log_line(TRAIN_20).values["train_wall"] == 41
    assert parse_log_line('{"ls960_num_updates": "7", "ls960_loss": "1"}').kind == "ls960"


@pytest.mark.parametrize(
    "line",
    [
        *("done training", "{'_name': None}", '{"loss": "1"}', "{", "[1]"),
        # Found by mutating logs.
        *('{"num_updates": "x"}', '{"valid_num_updates": null}', '{"num_updates": "nan"}'),
        *('{"num_updates": 1e999}', f'{{"num_updates": {"9" * 400}}}'),
        '{"num_updates": ' + "[" * 10**5,
    ],
)
def test_other_lines_are_no_statistics(line):
    assert parse_log_line(line) is None


def test_a_log_file_gives_columns_per_kind_and_repeated_lines_count_once(read):
    log = read(*LOG_FILE)
    assert list(log) == ["train_inner", "valid", "train"]
    np.testing.assert_array_equal(log["train_inner"]["num_updates"], [10, 20])
    np.testing.assert_array_equal(log["train_inner"]["loss"], [34.6317, 31.7365])
    np.testing.assert_array_equal(log["valid"]["frame_loss"], [16.7737])
    # Columns that a line lacks are NaN there.
    np.testing.assert_array_equal(log["train_inner"]["target_var"], [0.9758, math.nan])


def test_what_is_not_a_number_is_left_out_and_nan_and_infinity_are_numbers(read):
    line = '{"loss": "nan", "gnorm": "inf", "note": "hot", "nothing": null, "num_updates": "1"}'
    log = read(line)["train_inner"]
    assert set(log) == {"loss", "gnorm", "num_updates"}
    assert math.isnan(log["loss"][0]) and math.isinf(log["gnorm"][0])


def test_after_a_resume_the_last_word_on_each_update_counts(read):
    updates = [(10, 9), (20, 8), (30, 7), (20, 5), (30, 4)]  # stopped at 30, resumed from 10
    lines = [f'{{"num_updates": "{update}", "loss": "{loss}"}}' for update, loss in updates]
    log = read(*lines)["train_inner"]
    np.testing.assert_array_equal(log["num_updates"], [10, 20, 30])
    np.testing.assert_array_equal(log["loss"], [9, 5, 4])


def test_a_log_without_statistics_says_what_was_expected(read, tmp_path):
    with pytest.raises(ValueError, match=r"train\.log: found no line .* common\.log_format=json"):
        read("epoch 001: 10 / 20 loss=5.1")
    with pytest.raises(FileNotFoundError, match=r"no such run: .*none\.log, expected a folder or"):
        read_training_log(tmp_path / "none.log")


STATE = {
    "cfg": {"common": {"seed": 1}},
    "optimizer_history": [{"num_updates": 2}, {"num_updates": 7}],
    "extra_state": {"train_iterator": {"epoch": 3}, "best": 0.5, "previous_training_time": 9},
}


def test_what_a_checkpoint_says_of_its_run(tmp_path):
    torch.save(STATE, tmp_path / "checkpoint.pt")
    found = read_training_state(tmp_path / "checkpoint.pt")
    assert found == TrainingState({"common": {"seed": 1}}, 7, 3, 0.5, 9.0)


@pytest.mark.parametrize(
    "damage",
    [
        *({"optimizer_history": []}, {"optimizer_history": None}),
        *({"extra_state": 3}, {"extra_state": {}}),
        # Found by mutating checkpoints.
        {"extra_state": {"train_iterator": {"epoch": 3}, "previous_training_time": "\0"}},
        {"extra_state": [{"train_iterator": {"epoch": 3}}]},
    ],
)
def test_values_of_unexpected_kinds_are_named(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    torch.save({**STATE, **damage}, path)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: found no training state (")):
        read_training_state(path)
