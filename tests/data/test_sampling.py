import time

import numpy as np
import pytest

from eat.data.labels import LabelTable
from eat.data.sampling import (
    balancing_weights,
    draw_clips,
    draw_parts,
    draw_stratified_parts,
    draw_weighted,
)


def table(*classes, num_classes=3):
    offsets = np.cumsum([0, *map(len, classes)])
    return LabelTable(offsets, np.concatenate(classes).astype(np.int32), num_classes)


def test_weights_are_those_of_the_released_file():
    labels = table([0], [0, 1], [0], [2, 1])
    common, middle, rare = (1000 / (count + 0.01) for count in (3, 2, 1))
    expected = [common, common + middle, common, rare + middle]
    assert balancing_weights(labels) == pytest.approx(expected)


def test_clips_without_a_class_are_drawn_too():
    expected = [1000 / 1.01, 1000 / 2.01, 1000 / 2.01]
    none = np.array([], dtype=np.int32)
    assert balancing_weights(table([0], none, none)) == pytest.approx(expected)


def test_no_clip_comes_twice():
    generator = np.random.default_rng(0)
    drawn = draw_weighted(np.ones(50), 20, generator)
    assert len(set(drawn.tolist())) == 20
    assert drawn.min() >= 0 and drawn.max() < 50
    assert sorted(draw_weighted(np.ones(50), 50, generator)) == list(range(50))
    for num_samples in (0, 51):
        with pytest.raises(ValueError, match=f"found {num_samples}, expected 1 to 50"):
            draw_weighted(np.ones(50), num_samples, generator)


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


def test_drawn_clips_are_different_ones_in_order():
    drawn = draw_clips(1000, 100, seed=1)
    assert (np.diff(drawn) > 0).all()
    assert drawn[0] >= 0 and drawn[-1] < 1000
    assert drawn.tolist() == draw_clips(1000, 100, seed=1).tolist()
    assert drawn.tolist() != draw_clips(1000, 100, seed=2).tolist()
    assert draw_clips(5, 0, seed=1).tolist() == draw_clips(5, 9, seed=1).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "num_clips, fractions, sizes",
    [
        *((0, [0.5], [0, 0]), (1, [0.5], [1, 0]), (1, [0.9], [1, 0])),
        *((2, [0.01], [1, 1]), (2, [0.99], [1, 1]), (100, [0], [100, 0])),
        *((100, [0.05], [95, 5]), (100, [0.999], [1, 99])),
        *((100, [0.1, 0.2], [70, 10, 20]), (100, [0, 0.2], [80, 0, 20])),
        *((2, [0.1, 0.1], [1, 1, 0]), (3, [0.1, 0.1], [1, 1, 1])),
    ],
)
def test_sizes_of_parts(num_clips, fractions, sizes):
    parts = draw_parts(num_clips, fractions, seed=1)
    assert parts.shape == (num_clips,)
    assert np.bincount(parts, minlength=len(sizes)).tolist() == sizes
    single_class = draw_stratified_parts([[0]] * num_clips, fractions, seed=1) if num_clips else []
    assert np.bincount(single_class, minlength=len(sizes)).tolist() == sizes


def test_parts_are_drawn_by_the_seed():
    classes = [[clip % 3] for clip in range(60)]
    for draw in (
        lambda seed: draw_parts(60, [0.2, 0.1], seed),
        lambda seed: draw_stratified_parts(classes, [0.2, 0.1], seed),
    ):
        assert draw(1).tolist() == draw(1).tolist()
        assert draw(1).tolist() != draw(2).tolist()


def test_a_single_class_per_clip_has_its_share_to_the_clip():
    sizes = {0: 100, 1: 40, 2: 20, 5: 10}
    classes = [[index] for index, size in sizes.items() for _ in range(size)]
    parts = draw_stratified_parts(classes, [0.1, 0.2], seed=3)
    for index, size in sizes.items():
        of_class = parts[[clip[0] == index for clip in classes]]
        assert np.bincount(of_class).tolist() == [0.7 * size, 0.1 * size, 0.2 * size]


def test_small_classes_share_what_none_of_them_fills():
    classes = [[clip % 10] for clip in range(80)]  # 5 % of 8 clips is less than half a clip
    parts = draw_stratified_parts(classes, [0.05], seed=1)
    assert 3 <= parts.sum() <= 5
    drawn = [clip[0] for clip, part in zip(classes, parts, strict=True) if part]
    assert len(drawn) == len(set(drawn))


def deviation(classes, parts, fractions):
    """Root mean square of (clips - share of the clips) over classes and parts."""
    counts = np.bincount(np.concatenate(classes))
    deviations = []
    for part, fraction in enumerate(fractions, start=1):
        of_part = [clip for clip, drawn in zip(classes, parts, strict=True) if drawn == part]
        got = np.bincount(np.concatenate(of_part), minlength=len(counts))
        deviations.append(got - fraction * counts)
    return float(np.sqrt(np.mean(np.square(deviations))))


@pytest.mark.parametrize("fractions", [[0.05], [0.1, 0.2]])
def test_several_classes_per_clip_have_about_their_shares(fractions):
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1, 101)
    weights /= weights.sum()
    classes = [
        np.unique(rng.choice(100, rng.integers(1, 5), p=weights)).tolist() for _ in range(3000)
    ]
    parts = draw_stratified_parts(classes, fractions, seed=1)
    for part, fraction in enumerate(fractions, start=1):
        assert (parts == part).sum() == pytest.approx(fraction * len(classes), rel=0.05)
    assert deviation(classes, parts, fractions) < 0.6
    assert deviation(classes, draw_parts(3000, fractions, seed=1), fractions) > 1.4  # at random
