"""Saving: both formats, whole files only, the same bytes for the same figure."""

import pytest
from matplotlib.figure import Figure

from eat.figures import save_figure
from eat.figures.style import shorten


def make_figure():
    figure = Figure()
    figure.subplots().plot([1, 2], [3, 4])
    return figure


@pytest.mark.parametrize("name", ["curves", "curves.png", "curves.svg"])
def test_png_and_svg_are_written_under_one_name(tmp_path, name):
    png, svg = save_figure(make_figure(), tmp_path / "new" / name)
    assert [png.name, svg.name] == ["curves.png", "curves.svg"]
    assert png.read_bytes().startswith(b"\x89PNG") and b"<svg" in svg.read_bytes()
    assert sorted(png.parent.iterdir()) == [png, svg]


def test_a_dot_in_the_name_is_not_an_ending(tmp_path):
    png, svg = save_figure(make_figure(), tmp_path / "run 0.1")
    assert [png.name, svg.name] == ["run 0.1.png", "run 0.1.svg"]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    first = [path.read_bytes() for path in save_figure(make_figure(), tmp_path / "a")]
    second = [path.read_bytes() for path in save_figure(make_figure(), tmp_path / "b")]
    assert first == second


def test_saving_again_replaces_and_a_failure_leaves_what_was_there(tmp_path):
    png, _ = save_figure(make_figure(), tmp_path / "a")
    before = png.read_bytes()
    broken = make_figure()
    broken.suptitle("$\\no such command$")
    with pytest.raises(ValueError, match="no such"):
        save_figure(broken, tmp_path / "a")
    assert png.read_bytes() == before


def test_names_that_are_not_utf8_are_drawn_with_escapes(tmp_path):
    figure = make_figure()
    figure.suptitle("bird \udcff.wav")
    _, svg = save_figure(figure, tmp_path / "clip")
    assert r"bird \udcff.wav" in svg.read_text()


def test_long_names_keep_both_ends():
    assert shorten("wren", 4) == "wren"
    assert shorten("usr/share/sounds/en/digits", 13) == "usr/…n/digits"
