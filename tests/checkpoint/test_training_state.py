import re

import pytest
import torch

from eat.checkpoint import CheckpointError
from eat.checkpoint.training_state import TrainingState, read_training_state

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
        {"optimizer_history": []},
        {"optimizer_history": None},
        {"extra_state": 3},
        {"extra_state": {}},
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
