"""Maps of embeddings: what is near stays near, and every clip is shown under its label."""

import numpy as np
import pytest

from eat.figures.embeddings import MAX_KINDS, draw_map, map_embeddings
from eat.figures.network import name_folders

GENERATOR = np.random.default_rng(0)
CLUSTERS = np.repeat(np.arange(3), 20)
FEATURES = (8 * GENERATOR.standard_normal((3, 16)))[CLUSTERS] + GENERATOR.standard_normal((60, 16))


def points_by_label(figure):
    groups = figure.axes[0].collections
    return {group.get_label(): np.asarray(group.get_offsets()) for group in groups}


def test_pca_is_the_projection_on_the_directions_of_largest_variance():
    points, names = map_embeddings(FEATURES)
    centred = FEATURES - FEATURES.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(centred @ directions[:2].T), atol=1e-8)
    shares = 100 * scales**2 / (scales**2).sum()
    assert names == tuple(f"component {n} ({shares[n - 1]:.0f} % of the variance)" for n in (1, 2))


def test_tsne_keeps_clusters_together_and_repeats_itself():
    points, names = map_embeddings(FEATURES, "tsne")
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (CLUSTERS[distances.argmin(axis=1)] == CLUSTERS).all()
    np.testing.assert_array_equal(map_embeddings(FEATURES, "tsne")[0], points)
    assert names == ("t-SNE 1", "t-SNE 2")


def test_every_clip_is_drawn_under_its_label_and_those_without_apart():
    points = np.arange(12.0).reshape(6, 2)
    labels = ["b", "a", None, "b", "$x", "a"]
    figure = draw_map(dict(enumerate(points)), labels, "valid.tsv")
    assert figure.axes[0].get_title(loc="left") == "6 clips of valid.tsv"
    points, _ = map_embeddings(points)
    shown = points_by_label(figure)
    assert list(shown) == ["$x", "a", "b", "no label"]
    for name, clips in {"$x": [4], "a": [1, 5], "b": [0, 3], "no label": [2]}.items():
        np.testing.assert_array_equal(shown[name], points[clips])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(shown)


def test_every_label_has_a_look_of_its_own_and_rare_ones_share_the_grey():
    counts = [2] * MAX_KINDS + [1, 1]
    labels = [f"label {number:02}" for number, count in enumerate(counts) for _ in range(count)]
    points = np.random.default_rng(0).random((len(labels), 2))
    figure = draw_map(dict(enumerate(points)), labels, "valid.tsv")
    points, _ = map_embeddings(points)
    *own, others = figure.axes[0].collections
    looks = {(tuple(group.get_facecolor()[0]), len(group.get_paths()[0].vertices)) for group in own}
    assert len(own) == len(looks) == MAX_KINDS
    assert others.get_label() == "2 other labels"
    np.testing.assert_array_equal(others.get_offsets(), points[-2:])


@pytest.mark.parametrize(
    ("features", "method", "message"),
    [
        (np.zeros((2, 4)), "pca", r"found shape \(2, 4\), expected at least 3 clips"),
        (np.full((5, 4), np.nan), "pca", "found NaN or infinite values"),
        (np.eye(5), "umap", r"method: found 'umap', expected one of \('pca', 'tsne'\)"),
    ],
)
def test_what_cannot_be_mapped_is_refused(features, method, message):
    with pytest.raises(ValueError, match=message):
        map_embeddings(features, method)


@pytest.mark.parametrize(
    "paths, expected",
    [
        (["a.wav", "b.wav"], [".", "."]),
        (["birds/wren/1.wav", "birds/wren/2.wav"], ["birds/wren", "birds/wren"]),
        (["x/birds/wren/1.wav", "x/birds/owl/2.wav"], ["wren", "owl"]),
        (["x/birds/1.wav", "x/birds/owl/2.wav"], [".", "owl"]),
        (["1.wav", "birds/owl/2.wav"], [".", "birds/owl"]),
    ],
)
def test_folders_are_named_without_what_all_have_in_common(paths, expected):
    assert name_folders(paths) == expected
