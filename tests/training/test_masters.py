import copy

import pytest
import torch
from fairseq.optim.fp16_optimizer import FP16Optimizer, _FP16OptimizerMixin
from helpers import compose
from torch import nn

import eat.optim  # noqa: F401  # registers eat_adamw
from eat.training import masters
from eat.training.replacements import around


@pytest.fixture(autouse=True)
def replaced(monkeypatch):
    """What `replacements` puts in place."""
    for name, by in (
        ("build_fp32_params", masters.keep_masters),
        *(("state_dict", masters.store_counters), ("load_state_dict", masters.load_counters)),
        ("zero_grad", masters.drop_gradients),
    ):
        original = getattr(_FP16OptimizerMixin, name)
        monkeypatch.setattr(_FP16OptimizerMixin, name, around(original, by))


class Half:
    """A layer in half precision with fairseq's optimizer around ours, as in a run."""

    def __init__(self, dtype=torch.float16):
        fairseqs = {"fp16_scale_window": 3, "fp16_scale_tolerance": 0.0}
        fairseqs |= {"threshold_loss_scale": None, "model_parallel_size": 1}
        fairseqs |= {"fp16" if dtype == torch.float16 else "bf16": True}
        fairseqs = {f"common__{key}": value for key, value in fairseqs.items()}
        cfg = compose("pretrain_tiny", optimization__lr=[0.1], **fairseqs)
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3).to(dtype)
        masters.hold_masters(self.layer)
        self.build = lambda: FP16Optimizer.build_optimizer(cfg, list(self.layer.parameters()))
        self.optimizer = self.build()

    def update(self, size):
        """One update; with a large `size` the gradients overflow."""
        self.optimizer.backward(size * self.layer(torch.ones(2, 4).half()).square().sum())
        try:
            self.optimizer.clip_grad_norm(1.0)
            self.optimizer.step()
        except OverflowError:
            pass
        self.optimizer.zero_grad()

    def state(self):
        return copy.deepcopy((self.layer.state_dict(), self.optimizer.state_dict()))

    def load(self, model, optimizer):
        self.layer.load_state_dict(model)
        self.optimizer = self.build()
        self.optimizer.load_state_dict(optimizer)


@pytest.mark.parametrize("num_before", [1, 2, 4])
def test_fp16_goes_on_exactly_with_weights_and_loss_scale(num_before):
    sizes = [1.0, 1.0, 1e4, 1.0, 1.0, 1.0, 1.0]
    whole, stopped, resumed = Half(), Half(), Half()
    for size in sizes:
        whole.update(size)
    for size in sizes[:num_before]:
        stopped.update(size)
    model, optimizer = stopped.state()
    assert model["weight"].dtype == torch.float32
    assert (model["weight"].half() != model["weight"]).any()
    resumed.load(model, optimizer)
    for size in sizes[num_before:]:
        resumed.update(size)
    (found, found_state), (expected, expected_state) = resumed.state(), whole.state()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    for key in ("loss_scale", "loss_scaler"):
        assert found_state[key] == expected_state[key]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


def test_nothing_of_a_skipped_update_is_left_in_bf16():
    half = Half(torch.bfloat16)
    norms = []
    for size in (1.0, float("nan"), 1.0):
        half.optimizer.zero_grad()
        assert all(master.grad is None for master in half.optimizer.fp32_params)
        half.optimizer.backward(size * half.layer(torch.ones(2, 4).bfloat16()).sum())
        half.optimizer.multiply_grads(0.25)
        norms.append(half.optimizer.clip_grad_norm(0.0).item())
    assert norms == [norms[0], 0.0, norms[0]]
