"""Curves show what was logged, under the names that the axes say; every clip's length counts."""

import matplotlib
import numpy as np
import pytest

from eat.figures.curves import compare_runs, draw_curves, draw_lengths, logged_panels

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


def draw(panels=None, **runs):
    """The figure of some runs, and its axes by their titles."""
    figure = draw_curves(runs, panels)
    return figure, {axes.get_title(loc="left"): axes for axes in figure.axes}


def lines_by_label(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_each_logged_quantity_has_its_panel_with_the_logged_values():
    log = make_log()
    _, panels = draw(run=log)
    assert list(panels) == ["Loss", "Learning rate", "EMA decay of the teacher"]
    lines = lines_by_label(panels["Loss"])
    assert list(lines) == ["training", "validation"]
    np.testing.assert_array_equal(lines["training"].get_xdata(), UPDATES)
    np.testing.assert_array_equal(lines["training"].get_ydata(), log["train_inner"]["loss"])
    np.testing.assert_array_equal(lines["validation"].get_xdata(), [150, 300])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), [0.5, 0.2])
    assert all(axes.get_xlabel() == "update" and axes.get_ylabel() for axes in panels.values())
    # Losses start at 0, and the EMA decay near its values.
    bottom, top = panels["Loss"].get_ylim()
    assert bottom == 0 and top > np.exp(-0.1)
    assert panels["EMA decay of the teacher"].get_ylim()[0] > 0.99


def test_several_runs_lie_over_each_other_in_different_colours():
    figure, panels = draw(first=make_log(), second=make_log(scale=2.0))
    lines = lines_by_label(panels["Loss"])
    assert list(lines) == [
        "first, training", "first, validation", "second, training", "second, validation",
    ]  # fmt: skip
    first, second = (lines[f"{name}, training"].get_ydata() for name in ("first", "second"))
    np.testing.assert_array_equal(second, 2 * first)
    colours = [lines[label].get_color() for label in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)


def test_probes_are_beside_the_loss_with_student_and_teacher_in_one_panel():
    log = make_log()
    log["valid"]["probe_accuracy"] = np.array([0.3, 0.5])
    log["valid"]["probe_accuracy_teacher"] = np.array([0.2, 0.6])
    log["valid"]["probe_logistic_accuracy"] = np.array([np.nan, 0.7])
    _, panels = draw(run=log)
    assert [*panels][:3] == ["Loss", "Probe: nearest neighbours", "Probe: logistic regression"]
    lines = lines_by_label(panels["Probe: nearest neighbours"])
    assert [*lines] == ["validation", "validation, teacher"]
    for label, values in zip(lines, ([0.3, 0.5], [0.2, 0.6]), strict=True):
        np.testing.assert_array_equal(lines[label].get_ydata(), values)
    assert len({line.get_marker() for line in lines.values()}) == 2
    (line,) = panels["Probe: logistic regression"].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [300])


def test_a_short_run_without_inner_lines_shows_its_epochs_with_markers():
    _, panels = draw(run={"train": {"num_updates": np.array([3.0]), "loss": np.array([5.0])}})
    line = lines_by_label(panels["Loss"])["training"]
    assert line.get_marker() == "o"
    np.testing.assert_array_equal(line.get_ydata(), [5.0])


def test_values_that_were_not_logged_leave_no_gap():
    columns = {"num_updates": np.arange(3.0), "loss": np.array([3.0, np.nan, 1.0])}
    _, panels = draw(run={"train_inner": columns})
    np.testing.assert_array_equal(lines_by_label(panels["Loss"])["training"].get_xdata(), [0, 2])


def test_a_log_without_any_known_quantity_is_refused():
    with pytest.raises(ValueError, match=r"found \['num_updates', 'ppl'\], expected .* loss,"):
        draw(run={"train_inner": {"num_updates": UPDATES, "ppl": UPDATES}})


def test_drawing_leaves_matplotlibs_settings_alone():
    before = dict(matplotlib.rcParams)
    draw(run=make_log())
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "metric, title", [("mAP", "Mean average precision"), ("event_f1", "F1 of events")]
)
def test_fine_tuning_shows_its_metric_in_validation(metric, title):
    valid = {"num_updates": np.array([150.0, 300.0]), metric: np.array([0.2, 0.4])}
    train_inner = {"num_updates": UPDATES, "loss": np.exp(-UPDATES / 100)}
    _, panels = draw(run={"train_inner": train_inner, "valid": valid})
    assert list(panels) == ["Loss", title]
    assert panels["Loss"].get_ylabel() == "per label or clip"
    lines = lines_by_label(panels[title])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), [0.2, 0.4])


def test_an_effective_rank_says_of_how_many_directions():
    valid = {"num_updates": UPDATES[:2], "cls_rank": np.array([2.0, 3.5])}
    _, panels = draw(run={"valid": {**valid, "max_cls_rank": np.array([23.0, 23.0])}})
    axes = panels["Effective rank of CLS"]
    assert axes.get_ylabel() == "directions of 23"
    np.testing.assert_array_equal(lines_by_label(axes)["validation"].get_ydata(), [2.0, 3.5])


def make_pretraining(scale=1.0):
    columns = make_log(scale)["train_inner"]
    return {"train_inner": {**columns, "frame_loss": 2 * columns["loss"]}}


def test_losses_of_different_criteria_are_apart():
    _, panels = draw(pre=make_pretraining(), fine=make_log())
    lines = {
        title: list(lines_by_label(panels[title]))
        for title in ("Loss of pre-training", "Loss of fine-tuning", "Learning rate")
    }
    assert list(lines.values()) == [
        ["pre, training"],
        ["fine, training", "fine, validation"],
        ["pre, training", "fine, training"],
    ]
    assert panels["Loss of fine-tuning"].get_ylabel() == "per label or clip"
    assert "Loss" not in panels


def test_the_difference_of_runs_is_said_in_words():
    runs = {"recorded": make_pretraining(), "mine": make_pretraining(1.01), "fine": make_log()}
    figure = draw_curves({**runs, "odd": make_pretraining(1.2)})
    mine, odd = compare_runs({**runs, "odd": make_pretraining(1.2)})
    assert mine == (
        "mine and recorded agree: at update 300 the frame loss is 0.1006 and 0.09957; at 30 common"
        " updates it is at most 1 % apart."
    )
    assert "odd and recorded differ: " in odd and "at most 20 % apart" in odd
    assert figure.get_suptitle().replace("\n", " ") == f"{mine} {odd}"
    assert draw_curves({"recorded": make_pretraining()}).get_suptitle() == ""
    later = {"train_inner": {n: v + 1000 for n, v in make_log()["train_inner"].items()}}
    (nothing,) = compare_runs({"one": make_log(), "other": later})
    assert nothing == "other and one logged no update in common."


def test_single_panels_can_be_chosen():
    loss, lr, _ = logged_panels({"run": make_log()})
    assert list(draw([lr], run=make_log())[1]) == ["Learning rate"]
    assert (loss.column, lr.column) == ("loss", "lr")


def shares(figure):
    return {step.get_label(): step.get_data() for step in figure.axes[0].patches}


def test_the_lengths_of_each_split_add_up_and_the_cut_is_marked():
    seconds = {"train": np.array([0.52] * 30 + [2.0] * 10), "valid": np.array([1.0]), "eval": []}
    figure = draw_lengths(seconds, target_seconds=1.28)
    assert list(shares(figure)) == ["train", "valid"]
    values, edges, _ = shares(figure)["train"]
    assert values.sum() == pytest.approx(100)
    assert values[np.searchsorted(edges, 0.52) - 1] == pytest.approx(75)
    assert figure.axes[0].get_lines()[0].get_xdata()[0] == 1.28


def test_one_very_long_recording_is_in_the_last_bar():
    seconds = np.append(np.full(999, 1.0), 3600.0)
    values, edges, _ = shares(draw_lengths({"train": seconds}))["train"]
    assert edges[-1] < 60 and values.sum() == pytest.approx(100)


def test_each_of_many_splits_has_a_line():
    names = [f"train of {number}" for number in range(9)]
    assert list(shares(draw_lengths(dict.fromkeys(names, np.array([1.0]))))) == names


def test_lengths_of_no_clip_are_refused():
    with pytest.raises(ValueError, match="seconds: found no clip"):
        draw_lengths({"train": np.array([])})
