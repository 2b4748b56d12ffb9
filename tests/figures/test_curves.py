"""Curves show what was logged, under the names that the axes say."""

import matplotlib
import numpy as np
import pytest

from eat.figures import draw_curves, logged_panels

UPDATES = np.arange(10.0, 310, 10)


def make_log(scale=1.0):
    return {
        "train_inner": {
            "num_updates": UPDATES,
            "loss": scale * np.exp(-UPDATES / 100),
            "lr": np.full(30, 1e-3),
            "ema_decay": np.linspace(0.998, 0.9981, 30),
            "ups": np.full(30, 1.5),
        },
        "train": {"num_updates": UPDATES[-1:], "loss": np.array([1.0])},
        "valid": {"num_updates": np.array([150.0, 300.0]), "loss": scale * np.array([0.5, 0.2])},
    }


def axes_by_title(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def lines_by_label(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_each_logged_quantity_has_its_panel_with_the_logged_values():
    log = make_log()
    panels = axes_by_title(draw_curves({"run": log}))
    assert list(panels) == ["Loss", "Learning rate", "EMA decay of the teacher"]
    lines = lines_by_label(panels["Loss"])
    assert list(lines) == ["training", "validation"]
    np.testing.assert_array_equal(lines["training"].get_xdata(), UPDATES)
    np.testing.assert_array_equal(lines["training"].get_ydata(), log["train_inner"]["loss"])
    np.testing.assert_array_equal(lines["validation"].get_xdata(), [150, 300])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), [0.5, 0.2])
    assert all(axes.get_xlabel() == "update" and axes.get_ylabel() for axes in panels.values())


def test_losses_start_at_zero_and_the_ema_decay_near_its_values():
    panels = axes_by_title(draw_curves({"run": make_log()}))
    bottom, top = panels["Loss"].get_ylim()
    assert bottom == 0 and top > np.exp(-0.1)
    assert panels["EMA decay of the teacher"].get_ylim()[0] > 0.99


def test_several_runs_lie_over_each_other_in_different_colours():
    figure = draw_curves({"first": make_log(), "second": make_log(scale=2.0)})
    lines = lines_by_label(axes_by_title(figure)["Loss"])
    assert list(lines) == [
        "first, training", "first, validation", "second, training", "second, validation",
    ]  # fmt: skip
    np.testing.assert_array_equal(
        lines["second, training"].get_ydata(), 2 * lines["first, training"].get_ydata()
    )
    colours = [lines[label].get_color() for label in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)


def test_a_short_run_without_inner_lines_shows_its_epochs_with_markers():
    log = {"train": {"num_updates": np.array([3.0]), "loss": np.array([5.0])}}
    line = lines_by_label(axes_by_title(draw_curves({"run": log}))["Loss"])["training"]
    assert line.get_marker() == "o"
    np.testing.assert_array_equal(line.get_ydata(), [5.0])


def test_values_that_were_not_logged_leave_no_gap():
    log = {"train_inner": {"num_updates": np.arange(3.0), "loss": np.array([3.0, np.nan, 1.0])}}
    line = lines_by_label(axes_by_title(draw_curves({"run": log}))["Loss"])["training"]
    np.testing.assert_array_equal(line.get_xdata(), [0, 2])


def test_a_log_without_any_known_quantity_is_refused():
    log = {"train_inner": {"num_updates": UPDATES, "ppl": UPDATES}}
    with pytest.raises(ValueError, match=r"found \['num_updates', 'ppl'\], expected .* loss,"):
        draw_curves({"run": log})


def test_drawing_leaves_matplotlibs_settings_alone():
    before = dict(matplotlib.rcParams)
    draw_curves({"run": make_log()})
    assert dict(matplotlib.rcParams) == before


def test_fine_tuning_shows_its_metric_in_validation():
    log = {
        "train_inner": {"num_updates": UPDATES, "loss": np.exp(-UPDATES / 100)},
        "valid": {"num_updates": np.array([150.0, 300.0]), "mAP": np.array([0.2, 0.4])},
    }
    panels = axes_by_title(draw_curves({"run": log}))
    assert list(panels) == ["Loss", "Mean average precision"]
    assert panels["Loss"].get_ylabel() == "per label or clip"
    lines = lines_by_label(panels["Mean average precision"])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), [0.2, 0.4])


def test_single_panels_can_be_chosen():
    runs = {"run": make_log()}
    loss, lr, _ = logged_panels(runs)
    assert list(axes_by_title(draw_curves(runs, [lr]))) == ["Learning rate"]
    assert (loss.column, lr.column) == ("loss", "lr")
