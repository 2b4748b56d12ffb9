"""The operations that the literature gives for EAT-base, and shares by hand."""

from types import SimpleNamespace

import pytest
import torch
from helpers import REPOSITORY
from omegaconf import OmegaConf

from eat.benchmark.update import encoder_flops, random_batch, step_flops, summarise

BASE = OmegaConf.load(REPOSITORY / "config" / "pretrain_base.yaml").model


def test_base_has_the_known_forward_passes():
    """103 of 513 tokens are visible to the student."""
    student = encoder_flops(BASE, 103)
    assert student == pytest.approx(17.9e9, rel=0.005)
    one, two = (step_flops(BASE, 1024, 1, num_clones) for num_clones in (1, 2))
    assert 2 * one - two == pytest.approx(97e9, rel=0.005)  # the teacher
    # 2.6 with a projection of all patches, of which only the hidden ones are needed.
    decoder = (two - one) / 3 - student
    assert decoder == pytest.approx(2.6e9 - 2 * 102 * 768**2, rel=0.02)


def test_two_clips_of_sixteen_clones_take_two_teraflop():
    two = step_flops(BASE, 1024, 2, 16)
    assert two == pytest.approx(2.16e12, rel=0.005)
    assert step_flops(BASE, 1024, 5, 16) == pytest.approx(5 * two / 2)
    mixtures = OmegaConf.merge(BASE, {"mixtures": True})  # a mixture is a clip more
    assert step_flops(mixtures, 1024, 1, 16) == two


def test_a_block_by_hand():
    """One token and D = 1: qkv 3, scores 1, weighting 1, proj 1, fc1 and fc2 4 each."""
    model = SimpleNamespace(embed_dim=1, depth=3, mlp_ratio=4.0)
    assert encoder_flops(model, 1) == 2 * 3 * (3 + 1 + 1 + 1 + 4 + 4)


def test_a_clip_too_short_for_its_masks():
    cfg = OmegaConf.create({"common": {"seed": 1}, "dataset": {"batch_size": 1}, "model": BASE})
    cfg.task = {"target_length": 64}
    with pytest.raises(ValueError, match="mask_block_size: found 5, expected 1 to 4 on a grid of"):
        random_batch(cfg, torch.float32, "cpu")


def test_shares_and_rates_by_hand():
    seconds = {"teacher": 0.1, "forward": 1.0, "backward": 2.0, "optimizer": 0.5, "whole": 4.0}
    seconds = {part: [value, value] for part, value in seconds.items()}
    found = summarise(seconds, flops=6e12, peak=4e12, num_clips=2)
    assert found["clips_per_second"] == 0.5
    assert found["forward_ms_median"] == pytest.approx(900)  # without the teacher
    assert found["rest_ms"] == pytest.approx(500)
    assert found["tflops_per_second"] == pytest.approx(2.0)
    assert found["share_of_peak"] == pytest.approx(0.5)
    assert found["update_share_of_peak"] == pytest.approx(0.375)
