import copy

import pytest
import torch

from eat.nn import Encoder, EncoderConfig, Teacher, TeacherConfig
from eat.nn.teacher import average_layers, ema_decay

SMALL = EncoderConfig(embed_dim=16, depth=2, num_heads=2, num_position_rows=8)
CONFIG = TeacherConfig(average_top_k_layers=2)


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Encoder(SMALL)


def shift(student):
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize(
    "num_updates, decay", [(0, 0.9998), (50_000, 0.999895), (100_000, 0.99999), (400_000, 0.99999)]
)
def test_the_decay_is_annealed_linearly(num_updates, decay):
    assert ema_decay(TeacherConfig(), num_updates) == pytest.approx(decay, abs=1e-12)


def test_a_step_moves_every_parameter_by_one_minus_decay(student):
    teacher = Teacher(CONFIG, student)
    before = copy.deepcopy(dict(teacher.encoder.named_parameters()))
    shift(student)
    teacher.step(student, num_updates=1)
    decay = ema_decay(CONFIG, 1)
    for name, parameter in student.named_parameters():
        expected = decay * before[name] + (1 - decay) * parameter
        assert torch.allclose(teacher.encoder.get_parameter(name), expected, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_average_is_kept_in_float32_in_half_precision(student, dtype):
    """One step is far below half precision's resolution; a thousand must still add up."""
    teacher = Teacher(CONFIG, student).to(dtype)
    start = teacher.state_dict()["encoder.pre_norm.weight"].clone()
    assert start.dtype == torch.float32
    student = student.to(dtype)
    with torch.no_grad():
        student.pre_norm.weight.fill_(2.0)
    for update in range(1, 1001):
        teacher.step(student, update)
    moved = teacher.state_dict()["encoder.pre_norm.weight"]
    expected = 2.0 - torch.tensor([ema_decay(CONFIG, n) for n in range(1, 1001)]).double().prod()
    assert torch.allclose(moved.double(), expected.expand(16), atol=1e-4)
    assert teacher.encoder.pre_norm.weight.dtype == dtype
    assert torch.equal(teacher.encoder.pre_norm.weight, moved.to(dtype))


def test_float32_values_survive_a_checkpoint_of_a_half_precision_model(student):
    teacher, half = Teacher(CONFIG, student), Teacher(CONFIG, Encoder(SMALL)).half()
    full = copy.deepcopy(teacher.state_dict())
    half.load_state_dict(full)
    assert torch.equal(half.encoder.cls_token, full["encoder.cls_token"].half())
    for found in (half, teacher.half().float()):  # and the way back
        kept = {key: value for key, value in found.state_dict().items() if "pos" not in key}
        assert all(torch.equal(value, full[key]) for key, value in kept.items())


def test_it_stays_in_evaluation_mode_without_gradients(student):
    teacher = Teacher(CONFIG, student).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(x.requires_grad for x in teacher(torch.randn(1, 1, 32, 128)))


def test_targets_are_normalised_over_channels_per_token():
    outputs = [3 + 2 * torch.randn(2, 1 + 40, 16) for _ in range(3)]
    targets = average_layers(outputs)
    assert targets.shape == (2, 40, 16)
    assert torch.allclose(targets.mean(dim=2), torch.zeros(2, 40), atol=1e-5)
    assert torch.allclose(targets.var(dim=2, unbiased=False), torch.ones(2, 40), atol=1e-3)
    # Scale and offset of a layer's channels do not matter.
    scaled = [outputs[0] * torch.linspace(1, 5, 16) + torch.randn(16), *outputs[1:]]
    assert torch.allclose(targets, average_layers(scaled), atol=1e-3)


def test_only_the_last_layers_count(student):
    source = torch.randn(1, 1, 32, 128)
    last = Teacher(TeacherConfig(average_top_k_layers=1), student)
    *_, (_, mlp_output) = last.encoder.layers(source)
    assert torch.allclose(last(source)[0], average_layers([mlp_output]))
    with pytest.raises(ValueError, match="average_top_k_layers: found 3, expected 1 to depth 2"):
        Teacher(TeacherConfig(average_top_k_layers=3), student)
    with pytest.raises(ValueError, match="ema_end_decay: found 9.9999, expected 0 to 1"):
        Teacher(TeacherConfig(ema_end_decay=9.9999), student)
