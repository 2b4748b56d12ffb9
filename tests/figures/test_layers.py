"""The figure of probes that say in which layers the labels are."""

import pytest

from eat.figures import draw_where


def result(encoder, method, layers, **parts):
    names = {"encoder": encoder, "method": method, "mean": 0.5}
    return {**names, "where": {"layers": layers, "parts": parts}}


def test_every_encoder_has_a_panel_and_every_layer_a_bar_per_method():
    gated = result("x.pt", "gated", {"1": 0.2, "2": 0.8}, min=0.4, max=0.5, cls=0.1)
    attentive = result("x.pt", "attentive", {"2": 1.0}, cls=0.25, patches=0.75)
    untrained = result("untrained", "attentive", {"mean": 1.0}, cls=0.0, patches=1.0)
    vectors = {"encoder": "z.pt", "method": "knn", "mean": 0.1}
    figure = draw_where({"results": [vectors, attentive, gated, untrained]})
    trained, other = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["x.pt", "untrained"]
    bars = {round(bar.get_center()[0], 6): bar.get_height() for bar in trained.patches}
    assert bars == {1.8: 1.0, 1.2: 0.2, 2.2: 0.8}
    assert [bar.get_center()[0] for bar in other.patches] == [pytest.approx(-0.2)]
    labels = [text.get_text() for text in trained.get_legend().get_texts()]
    assert labels[1] == "gated 0.500 (min 0.40, max 0.50, cls 0.10)"
    assert [line.get_ydata()[0] for line in trained.get_lines()] == [1.0, 0.5]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="found no probe of all tokens, expected attentive or"):
        draw_where({"results": [{"encoder": "x.pt", "method": "knn"}]})
