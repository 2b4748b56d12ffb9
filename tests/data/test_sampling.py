import time

import numpy as np
import pytest

from eat.data.labels import LabelTable
from eat.data.sampling import balancing_weights, draw_weighted


def table(*classes, num_classes=3):
    offsets = np.cumsum([0, *map(len, classes)])
    return LabelTable(offsets, np.concatenate(classes), num_classes)


def test_weights_are_those_of_the_released_file():
    labels = table([0], [0, 1], [0], [2, 1])
    common, middle, rare = (1000 / (count + 0.01) for count in (3, 2, 1))
    expected = [common, common + middle, common, rare + middle]
    assert balancing_weights(labels) == pytest.approx(expected)


def test_no_clip_comes_twice():
    generator = np.random.default_rng(0)
    drawn = draw_weighted(np.ones(50), 20, generator)
    assert len(set(drawn.tolist())) == 20
    assert drawn.min() >= 0 and drawn.max() < 50
    assert sorted(draw_weighted(np.ones(50), 50, generator)) == list(range(50))


def test_draws_follow_the_weights():
    """Two of three without replacement, against the probabilities worked out by hand."""
    weights = np.array([1.0, 2.0, 5.0])
    generator = np.random.default_rng(0)
    left_out = np.zeros(3)
    for _ in range(20_000):
        left_out[3 - draw_weighted(weights, 2, generator).sum()] += 1
    p, rest = weights / 8, lambda i: 8 - weights[i]
    expected = [
        sum(p[i] * weights[j] / rest(i) for i, j in ((a, b), (b, a)))
        for a, b in ((1, 2), (0, 2), (0, 1))
    ]
    assert left_out / 20_000 == pytest.approx(expected, abs=0.01)


def test_the_order_is_random():
    weights = np.array([1.0, 1000.0])
    first = [draw_weighted(weights, 2, np.random.default_rng(seed))[0] for seed in range(200)]
    assert np.mean(first) == pytest.approx(0.5, abs=0.1)


def test_two_million_clips_take_a_moment():
    generator = np.random.default_rng(0)
    weights = generator.random(2_000_000) + 1e-3
    start = time.perf_counter()
    drawn = draw_weighted(weights, 200_000, generator)
    assert time.perf_counter() - start < 5  # 0.1 s on an idle core
    assert weights[drawn].mean() > weights.mean()


@pytest.mark.parametrize("num_samples", [0, 6])
def test_impossible_numbers(num_samples):
    with pytest.raises(ValueError, match=f"found {num_samples}, expected 1 to 5"):
        draw_weighted(np.ones(5), num_samples, np.random.default_rng(0))
