"""The quickstart: from nothing to figures, on our events and on a user's own folder."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quickstart
from synthesis import CLASSES, write_events

from eat.training.run import read_training_log

# Of the recorded curve, which is one in fp32: in bf16 a run differs by a fifth of these at most.
TOLERANCES = {
    "loss": 0.02,
    "frame_loss": 0.02,
    "utterance_loss": 0.02,
    "target_var": 0.01,
    "prediction_var": 0.02,
    "gnorm": 0.1,
}
SCRIPT = Path(quickstart.__file__)


def run_script(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize("word", ["plain", "two words", "a='b c'", "$HOME's", "a\\'b", '"', "!'"])
def test_shown_commands_can_be_pasted_into_a_shell(word):
    assert shlex.split(quickstart.shell_word(word)) == [word]


def test_arguments(capsys, tmp_path):
    (tmp_path / "birds").mkdir()
    assert quickstart.parse_arguments([]).out == Path("quickstart/synthetic")
    args = quickstart.parse_arguments(["--audio", str(tmp_path / "birds")])
    assert args.out == Path("quickstart/birds")
    for arguments, message in (
        (["--audio", str(tmp_path / "none")], "--audio: no such folder"),
        (["--updates", "0"], "expected 1 or more"),
    ):
        with pytest.raises(SystemExit) as exit_status:
            quickstart.main(arguments)
        assert exit_status.value.code == 2
        assert message in capsys.readouterr().err
    write_events(tmp_path / "birds", clips_per_class=1, seed=1)[0].rename(tmp_path / "a.wav")
    (tmp_path / "one").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "one" / "a.wav")
    arguments = ["--audio", str(tmp_path / "one"), "--out", str(tmp_path / "out")]
    assert quickstart.main(arguments) == 1
    assert "found one readable recording, expected at least two" in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for restart in ([], ["--restart"]):
        assert quickstart.main(["--out", str(tmp_path), *restart]) == 1
        assert "holds other files, expected an empty or new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_restart_removes_the_runs_own_files_only(capsys, tmp_path):
    run = quickstart.Run(quickstart.parse_arguments(["--out", str(tmp_path), "--updates", "7"]))
    assert run.begin(restart=False) is False
    assert quickstart.main(["--out", str(tmp_path), "--updates", "8"]) == 1
    error = capsys.readouterr().err
    assert "'updates': 7}, expected one with" in error and "--restart" in error
    for folder in (run.events, run.manifests, run.checkpoints, run.figures):
        folder.mkdir()
    run.log.write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    run.record(finished=True)
    assert run.begin(restart=False) is True
    assert run.begin(restart=True) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["finished"] is False


@pytest.mark.slow
def test_from_nothing_to_figures_and_a_finished_run_is_not_trained_again(tmp_path):
    pytest.importorskip("fairseq")
    arguments = ("--out", "my run", "--updates", "2", "--clips-per-class", "1")
    first = run_script(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    out = tmp_path / "my run"
    assert len(list((out / "events").rglob("*.wav"))) == len(CLASSES)
    checkpoint = out / "checkpoints" / "checkpoint_last.pt"
    assert f"checkpoint: {checkpoint}" in first.stdout and "after 2 updates" in first.stdout
    figures = {f"{name}.{kind}" for name in ("clip", "curves") for kind in ("png", "svg")}
    assert {path.name for path in (out / "figures").iterdir()} == figures
    assert f"report:     {out / 'report.html'}" in first.stdout
    assert "my run/checkpoints" in (out / "report.html").read_text()

    written = checkpoint.stat().st_mtime_ns
    (out / "figures" / "clip.png").unlink()
    second = run_script(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "is finished; --restart trains again" in second.stdout
    lines = second.stdout.splitlines()
    extract = next(line for line in lines if " extract " in line)  # can be pasted as it stands
    subprocess.run(extract, shell=True, cwd=tmp_path, check=True, timeout=120)
    assert len(list((out / "features").rglob("*.npy"))) == len(CLASSES)
    assert checkpoint.stat().st_mtime_ns == written
    assert {path.name for path in (out / "figures").iterdir()} == figures


@pytest.mark.slow
def test_an_unfinished_run_on_own_recordings_continues_after_a_failure(tmp_path):
    pytest.importorskip("fairseq")
    audio = tmp_path / "it's my audio, [1]"
    write_events(audio, clips_per_class=1, seed=1, duration_seconds=2.0, sample_rate_hz=22_050)
    (audio / "broken.wav").write_bytes(b"RIFF")
    out = tmp_path / "it's out, (1)"
    (out / "checkpoints").mkdir(parents=True)
    record = {"settings": {"audio": str(audio), "updates": 2}, "finished": False}
    (out / "run.json").write_text(json.dumps(record))
    torn = out / "checkpoints" / "checkpoint_last.pt"
    torn.write_bytes(b"torn")

    failed = run_script("--audio", audio, "--out", out, "--updates", "2", cwd=tmp_path)
    assert failed.returncode == 1
    assert "task.target_length=208" in failed.stdout  # 2 s are 198 frames
    assert "training failed with status 1; the end of" in failed.stderr
    assert "\n".join((out / "train.log").read_text().splitlines()[-25:]) in failed.stderr
    assert failed.stderr.endswith("(the same command continues, --restart starts again)\n")

    torn.unlink()
    done = run_script("--audio", audio, "--out", out, "--updates", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "after 2 updates" in done.stdout


@pytest.mark.slow
def test_the_run_follows_the_recorded_curve(tmp_path):
    """The first half of the default run; the schedule is that of the whole."""
    pytest.importorskip("fairseq")
    run = quickstart.Run(quickstart.parse_arguments(["--out", str(tmp_path)]))
    assert run.is_default
    quickstart.make_events(run)
    quickstart.make_manifests(run)
    settings = quickstart.training_settings(run, quickstart.measure(run))
    settings["+lr_scheduler.max_update"] = settings["optimization.max_update"]
    settings["optimization.max_update"] = num_updates = 50
    command = quickstart.training_arguments(quickstart.CONFIG_NAME, settings)
    quickstart.train(command, run.log, num_updates)

    expected = read_training_log(quickstart.EXPECTED_CURVE)["train_inner"]
    found = read_training_log(run.log)["train_inner"]
    assert list(found["num_updates"]) == [10, 20, 30, 40, 50]
    assert list(expected["num_updates"]) == list(range(10, 110, 10))
    for name in ("lr", "ema_decay", "mask_ratio"):
        assert found[name] == pytest.approx(expected[name][:5], rel=1e-3), name
    for name, tolerance in TOLERANCES.items():
        error = np.abs(found[name] / expected[name][:5] - 1)
        assert error.max() < tolerance, (name, error)
