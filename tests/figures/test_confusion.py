import numpy as np
import pytest

from eat.figures.confusion import draw_confusion

COUNTS = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])


def test_shares_are_by_row_and_numbers_are_clips():
    figure = draw_confusion(COUNTS, ["a", "b$", "c"])
    axes = figure.axes[0]
    (image,) = axes.images
    assert image.get_array().tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}  # (column, row)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b$", "c"]
    assert figure.get_suptitle() == "Confusion matrix\n87.5% of 8 clips on the diagonal"


def test_many_classes_are_neither_named_nor_numbered():
    axes = draw_confusion(np.eye(70, dtype=int), [str(i) for i in range(70)]).axes[0]
    assert not axes.texts
    assert len(axes.get_yticks()) < 20


def test_another_shape():
    with pytest.raises(ValueError, match=r"counts: found shape \(3, 3\), expected 2 x 2"):
        draw_confusion(COUNTS, ["a", "b"])
