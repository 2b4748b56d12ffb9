"""The counts that the literature gives for EAT-base, and what follows from them."""

from types import SimpleNamespace

import pytest
from helpers import REPOSITORY
from omegaconf import OmegaConf

from eat.benchmark.flops import StepFlops, count_flops, encoder_flops

BASE = OmegaConf.load(REPOSITORY / "config" / "pretrain_base.yaml").model


def test_base_has_the_known_forward_passes():
    flops = count_flops(BASE, 1024)
    assert flops.student == pytest.approx(17.9e9, rel=0.005)
    assert flops.teacher == pytest.approx(97e9, rel=0.005)
    # 2.6 with a projection of all patches, of which only the hidden ones are needed.
    assert flops.decoder == pytest.approx(2.6e9 - 2 * 102 * 768**2, rel=0.02)


def test_two_clips_of_sixteen_clones_take_two_teraflop():
    assert count_flops(BASE, 1024).step(2, 16) == pytest.approx(2.16e12, rel=0.005)


def test_a_step_is_linear_in_clips_and_the_teacher_is_shared_by_the_clones():
    flops = StepFlops(student=1.0, decoder=2.0, teacher=10.0)
    assert flops.step(1, 1) == 3 * 3 + 10
    assert flops.step(1, 16) == 16 * 3 * 3 + 10
    assert flops.step(5, 16) == 5 * flops.step(1, 16)


def test_a_block_by_hand():
    """One token and D = 1: qkv 3, scores 1, weighting 1, proj 1, fc1 and fc2 4 each."""
    model = SimpleNamespace(embed_dim=1, depth=3, mlp_ratio=4.0)
    assert encoder_flops(model, 1) == 2 * 3 * (3 + 1 + 1 + 1 + 4 + 4)
