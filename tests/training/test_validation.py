"""Effective ranks of whole validation sets: known values, whatever the batches."""

import math

import numpy as np
import pytest
import torch

from eat.training.validation import MomentsMeter, effective_rank, largest_rank, moments


def rows(num_rows, num_directions, width=24):
    """Rows around an offset, with equal variances along some directions and none along others."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    x = torch.randn(num_rows, num_directions, generator=generator, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(dim=0))[0]
    return 5.0 + 100 * x @ basis[:num_directions]


@pytest.mark.parametrize("num_directions", [1, 4, 24])
def test_equally_strong_directions_are_counted(num_directions):
    assert effective_rank(moments(rows(100, num_directions))) == pytest.approx(num_directions)


def test_it_is_exp_of_the_entropy_of_the_singular_values_without_the_mean():
    x = np.random.default_rng(0).normal(3.0, np.arange(1, 9), (50, 8))
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(moments(torch.from_numpy(x))) == pytest.approx(expected)


def test_rows_that_are_all_the_same_use_no_direction():
    assert effective_rank(moments(torch.full((9, 5), 0.3))) == 0
    assert math.isnan(effective_rank(moments(torch.full((9, 5), math.nan))))


def test_batches_add_up_and_the_mean_of_a_batch_is_no_rank():
    x = torch.randn(40, 6, 8, generator=torch.Generator().manual_seed(0))
    meter = MomentsMeter(effective_rank)
    for batch in x.split([1, 30, 9]):
        meter.update(moments(batch))
    assert meter.smoothed_value == round(effective_rank(moments(x)), 2) > 7
    meter.reset()
    meter.update(moments(x[:1, :3]))
    assert meter.smoothed_value < 2.1


def test_a_rank_is_at_most_the_width_and_below_the_number_of_rows():
    assert [largest_rank(moments(rows(n, 1))) for n in (5, 100)] == [4, 24]
