import math

import pytest
import torch
from fairseq.optim.lr_scheduler.cosine_lr_scheduler import CosineLRSchedule
from omegaconf import OmegaConf
from torch import nn

from eat.optim.adamw import AdamWConfig, EatAdamW, set_lr_scale


def make(parameters, **settings):
    cfg = OmegaConf.structured(AdamWConfig(fp16=False, **settings))
    cfg.lr = [0.1]
    return EatAdamW(cfg, parameters)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def step(optimizer, layer):
    layer(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()


def test_equals_adam_with_decoupled_weight_decay(layer):
    """First step by hand: the bias-corrected moments are g and g^2, so Adam moves by lr."""
    before = layer.weight.detach().clone()
    optimizer = make(layer.parameters(), weight_decay=0.5)
    step(optimizer, layer)
    sign = layer.weight.grad.sign()
    assert torch.allclose(layer.weight, before * (1 - 0.1 * 0.5) - 0.1 * sign, atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"adam_betas": [0.9]}, r"optimizer.adam_betas: found \[0.9\], expected two numbers"),
        ({"adam_betas": [0.9, 1.0]}, r"optimizer.adam_betas: found \[0.9, 1.0\]"),
        ({"adam_eps": -1.0}, "optimizer.adam_eps: found -1.0, expected 0 or more"),
        ({"weight_decay": math.nan}, "optimizer.weight_decay: found nan, expected 0 or more"),
    ],
)
def test_impossible_settings_are_named(layer, settings, message):
    with pytest.raises(ValueError, match=message):
        make(layer.parameters(), **settings)


@pytest.mark.parametrize("is_fused", [True, False])
def test_gradients_are_averaged_and_clipped_in_the_step(layer, is_fused, monkeypatch):
    monkeypatch.setattr("eat.optim.adamw._can_fuse", lambda params: is_fused)
    expected = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    adam = torch.optim.AdamW(expected, lr=0.1, betas=(0.9, 0.95), weight_decay=0.05)
    optimizer = make(layer.parameters())
    for size in (1.0, -300.0, 5.0):  # the first is not clipped
        optimizer.zero_grad()
        for p, parameter in zip(expected, layer.parameters(), strict=True):
            parameter.grad = size * torch.randn_like(p)
            p.grad = parameter.grad * 0.01
        norm = torch.nn.utils.clip_grad_norm_(expected, 1.0)
        adam.step()
        factor = 0.01 if size == 1 else torch.tensor(0.01, dtype=torch.float64)  # several workers
        optimizer.multiply_grads(factor)
        assert torch.allclose(optimizer.clip_grad_norm(1.0), norm)
        optimizer.step()
        for p, parameter in zip(expected, layer.parameters(), strict=True):
            assert torch.allclose(parameter, p, rtol=1e-5)


@pytest.mark.parametrize(
    "settings, expected", [({}, [0.05]), ({"decay_1d": False}, [0.05, 0.0])], ids=["released", ""]
)
def test_everything_decays_unless_biases_are_left_out(layer, settings, expected):
    groups = make(layer.parameters(), weight_decay=0.05, **settings).param_groups
    groups = sorted(groups, key=lambda group: -group["params"][0].dim())
    assert [group["weight_decay"] for group in groups] == expected


@pytest.mark.parametrize("lr, settings", [(0.01, {}), (0.1, {"min_lr": 0.2})])
def test_groups_scale_the_learning_rate(layer, lr, settings):
    """Also where min_lr is above the peak of 0.1, so that the schedule has no span."""
    set_lr_scale(layer.bias, 0.25)
    optimizer = make(layer.parameters(), **settings)
    optimizer.set_lr(lr)
    assert {g["lr_scale"]: g["lr"] for g in optimizer.param_groups} == {1.0: lr, 0.25: lr / 4}
    assert optimizer.get_lr() == lr


def test_resuming_keeps_moments_but_not_the_implementation(layer):
    optimizer = make(layer.parameters())
    step(optimizer, layer)
    state = optimizer.state_dict()
    own = {key: state["param_groups"][0][key] for key in ("fused", "foreach")}
    state["param_groups"][0].update(fused=own["foreach"], foreach=own["fused"])  # another device's
    resumed = make(layer.parameters())
    resumed.load_state_dict(state)
    assert {key: resumed.param_groups[0][key] for key in own} == own
    assert sorted(own.values()) == [False, True]
    moments = resumed.optimizer.state[layer.weight]["exp_avg"]
    assert torch.equal(moments, optimizer.optimizer.state[layer.weight]["exp_avg"])


def cosine(min_lr, peak, warmup, total, update):
    """fairseq's schedule with its default start, by its documentation."""
    low = min(min_lr, peak)
    if update < warmup:
        return low + update * (peak - low) / warmup
    return low + 0.5 * (peak - low) * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))


@pytest.mark.parametrize("update", [0, 3, 10, 25, 59])
def test_every_group_follows_its_own_cosine_as_in_the_released_code(layer, update):
    """There each group has a scheduler, which lowers min_lr to the peak of its group."""
    set_lr_scale(layer.bias, 0.001)  # a peak of 1e-4, below min_lr
    set_lr_scale(layer.weight, 0.25)
    head = nn.Parameter(torch.zeros(3))
    optimizer = make([*layer.parameters(), head], min_lr=1e-3)
    cfg = OmegaConf.create(
        {"lr": [0.1], "min_lr": 1e-3, "warmup_init_lr": -1, "warmup_updates": 10}
        | {"max_update": 60, "lr_period_updates": 0, "t_mult": 1, "lr_shrink": 0.1}
    )
    CosineLRSchedule(cfg, optimizer).step_update(update)
    found = {group["lr_scale"]: group["lr"] for group in optimizer.param_groups}
    for scale in (1.0, 0.25, 0.001):
        expected = cosine(1e-3, scale * 0.1, 10, 60, update)
        assert found[scale] == pytest.approx(expected, rel=1e-9)
    assert found[0.001] == pytest.approx(1e-4)  # constant
