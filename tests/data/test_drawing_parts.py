import numpy as np
import pytest

from eat.data.sampling import draw_parts, draw_stratified_parts


@pytest.mark.parametrize(
    "num_clips, fractions, sizes",
    [
        (0, [0.5], [0, 0]),
        (1, [0.5], [1, 0]),
        (1, [0.9], [1, 0]),
        (2, [0.01], [1, 1]),
        (2, [0.99], [1, 1]),
        (100, [0], [100, 0]),
        (100, [0.05], [95, 5]),
        (100, [0.999], [1, 99]),
        (100, [0.1, 0.2], [70, 10, 20]),
        (100, [0, 0.2], [80, 0, 20]),
        (2, [0.1, 0.1], [1, 1, 0]),
        (3, [0.1, 0.1], [1, 1, 1]),
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
    assert (
        max(np.bincount([clip[0] for clip, part in zip(classes, parts, strict=True) if part])) == 1
    )


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
