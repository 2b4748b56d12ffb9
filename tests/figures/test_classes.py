"""Figures of classes: what is read is what was written, ranked, and nothing is hidden."""

import math

import numpy as np
import pytest

from eat.figures.classes import ClassResult, draw_classes, draw_confusion, read_class_results

HEADER = "label,average_precision,num_positives"
COUNTS = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])


def make(num_classes):
    precisions = np.random.default_rng(0).random(num_classes).tolist()
    return [ClassResult(f"class {i}", value, 10 + i) for i, value in enumerate(precisions)]


def bars_by_name(axes):
    names = [text.get_text() for text in axes.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in axes.patches), strict=True))


def test_few_classes_are_all_named_the_best_first():
    results = make(4)
    bars, points = draw_classes(results, title="valid.tsv").axes
    shown = bars_by_name(bars)
    assert shown == {result.label: result.average_precision for result in results}
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    assert bars.get_ylim()[0] > bars.get_ylim()[1]  # the first bar is the top one
    assert points.get_xlabel() == "clips or steps with the class"
    offsets = points.collections[0].get_offsets().tolist()
    assert sorted(offsets) == sorted([r.num_positives, r.average_precision] for r in results)
    mean = np.mean([result.average_precision for result in results])
    assert bars.get_lines()[0].get_xdata()[0] == pytest.approx(mean)


def test_of_many_classes_the_best_and_the_worst_are_named_and_all_are_points():
    results = make(200)
    bars, points = draw_classes(results).axes
    ranked = sorted(results, key=lambda result: -result.average_precision)
    assert list(bars_by_name(bars)) == [r.label for r in ranked[:25] + ranked[-25:]]
    assert len(points.collections[0].get_offsets()) == 200


def test_classes_without_positives_are_counted_and_not_averaged():
    results = [*make(3), ClassResult("never", math.nan, 0)]
    figure = draw_classes(results, title="mine")
    mean = np.mean([result.average_precision for result in results[:3]])
    assert figure.get_suptitle() == (
        f"mine: mean average precision {mean:.3f} over 3 classes; 1 without positives left out"
    )
    assert "never" not in bars_by_name(figure.axes[0])
    with pytest.raises(ValueError, match="found no class with positives"):
        draw_classes(results[3:])


def test_reading_names_with_commas_and_classes_without_precision(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text(f"\ufeff{HEADER}\nRain,0.5,3\n")  # of a spreadsheet
    assert read_class_results(path) == [ClassResult("Rain", 0.5, 3)]
    path.write_text(f'index,{HEADER}\n0,"Rain, heavy",0.25,3\n1,Wind,,0\n2,Sea,nan,0\n')
    rain, wind, sea = read_class_results(path)
    assert rain == ClassResult("Rain, heavy", 0.25, 3)
    assert wind.label == "Wind" and math.isnan(wind.average_precision)
    assert math.isnan(sea.average_precision)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,ap\nRain,1\n", ":1: found the columns label, ap, expected label, aver"),
        (f"{HEADER}\n", ": found no class"),
        (f"{HEADER}\nRain,high,3\n", ":2: found 'high' and '3', expected an average"),
        (f"{HEADER}\nRain,0.5,3\nSea,40.2,3\n", r":3: found '40\.2' and '3', expected .*\[0, 1"),
        (f"{HEADER}\nRain,0.5,0\n", r":2: found '0\.5' and '0', expected an average"),
        ("\x7fELF\x00\n\udcff", ":1: found the columns .*, expected label, average"),
    ],
)
def test_bad_tables_are_named_with_their_line(tmp_path, text, message):
    path = tmp_path / "classes.csv"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"classes\.csv" + message):
        read_class_results(path)


def test_shares_are_by_row_and_numbers_are_clips():
    figure = draw_confusion(COUNTS, ["a", "b$", "c"])
    (axes,) = figure.axes[:1]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}  # (column, row)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b$", "c"]
    assert figure.get_suptitle() == "Confusion matrix\n87.5% of 8 clips on the diagonal"


def test_many_classes_are_neither_named_nor_numbered():
    axes = draw_confusion(np.eye(70, dtype=int), [str(i) for i in range(70)]).axes[0]
    assert not axes.texts and len(axes.get_yticks()) < 20


def test_another_shape():
    with pytest.raises(ValueError, match=r"counts: found shape \(3, 3\), expected 2 x 2"):
        draw_confusion(COUNTS, ["a", "b"])
