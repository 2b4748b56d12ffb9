"""`eat plot curves`: runs by folder or file, under names that tell them apart."""

import numpy as np
import pytest

LINE = '{{"loss": "{loss}", "frame_loss": "1", "num_updates": "{update}"}}\n'


def write_run(folder, losses, name="train.log"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [LINE.format(loss=loss, update=update) for update, loss in enumerate(losses, 1)]
    (folder / name).write_text("".join(lines))
    return folder


def test_a_folder_and_a_file_are_drawn_over_each_other(plot, tmp_path, capsys):
    write_run(tmp_path / "a" / "checkpoints", [3, 2, 1])
    write_run(tmp_path / "b", [9, 8], name="out.txt")
    status, (figure,) = plot("curves", "a/checkpoints", "b/out.txt", "--out", "figures/both")
    assert status == 0
    assert capsys.readouterr().out.split() == ["figures/both.png", "figures/both.svg"]
    assert (tmp_path / "figures" / "both.svg").exists()
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert list(lines) == ["checkpoints, training", "out.txt, training"]
    np.testing.assert_array_equal(lines["checkpoints, training"], [3, 2, 1])
    np.testing.assert_array_equal(lines["out.txt, training"], [9, 8])


def test_names_are_the_shortest_ends_that_differ(plot, tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / f"seed{seed}" / "checkpoints", [seed])
    _, (figure,) = plot("curves", "seed1/checkpoints", "seed2/checkpoints")
    labels = [line.get_label() for line in figure.axes[0].get_lines()]
    assert labels == ["seed1/checkpoints, training", "seed2/checkpoints, training"]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("none", "no such run: none, expected a folder or a log file"),
        (".", ".: found no train.log, expected the checkpoint.save_dir of a training run"),
        ("empty.log", "empty.log: found no line of training statistics"),
    ],
)
def test_what_is_no_run_is_named(plot, tmp_path, capsys, run, message):
    (tmp_path / "empty.log").write_text("epoch 1\n")
    assert plot("curves", run) == (1, [])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("curves*"))


def test_the_same_run_twice_is_refused(plot, tmp_path, capsys):
    write_run(tmp_path / "a", [1])
    assert plot("curves", "a", "./a")[0] == 1
    assert "found a run twice among a, ./a" in capsys.readouterr().err
