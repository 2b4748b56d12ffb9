import json

import pytest

from eat.benchmark.update import summarise
from eat.commands.main import main

MINIATURE = ["--config-size", "tiny", "--set", "model.depth=2", "model.average_top_k_layers=2"]


def test_shares_and_rates_by_hand():
    seconds = {
        "teacher": [0.1, 0.1],
        "forward": [1.0, 1.0],
        "backward": [2.0, 2.0],
        "optimizer": [0.5, 0.5],
        "update": [4.0, 4.0],
    }
    found = summarise(seconds, flops=6e12, peak=4e12, num_clips=2)
    assert found["clips_per_second"] == 0.5
    assert found["forward_ms"]["median"] == pytest.approx(900)  # without the teacher
    assert found["rest_ms"] == pytest.approx(500)
    assert found["tflops_per_second"] == pytest.approx(2.0)
    assert found["share_of_peak"] == pytest.approx(0.5)
    assert found["update_share_of_peak"] == pytest.approx(0.375)


def test_a_real_update(tmp_path, capsys):
    """Two batch sizes of a small model, each in its own process, with real data."""
    out = tmp_path / "speed.json"
    arguments = ["--clips", "1", "2", "--repeats", "1", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", "train", *MINIATURE, *arguments]) == 0
    table = capsys.readouterr().out
    assert "clips/s" in table and "of peak" in table
    found = json.loads(out.read_text())
    assert [case["clips"] for case in found["cases"]] == [1, 2]
    one, two = (case["tflop"] for case in found["cases"])
    assert two == pytest.approx(2 * one)
    for case in found["cases"]:
        assert case["settings"] == "model.depth=2 model.average_top_k_layers=2"
        assert 0 < case["share_of_peak"] < 1
        assert 0 < case["memory_gb"] <= case["update_memory_gb"]


@pytest.mark.slow
def test_waiting_for_data_and_profile(manifests, capsys):
    arguments = ["--data", str(manifests), "--clips", "4", "--repeats", "2", "--profile", "--json"]
    assert main(["benchmark", "train", *MINIATURE, *arguments, "--device", "cpu"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["data_wait_ms_median"] >= 0
    assert "aten::" in case["profile"]


def test_a_wrong_setting_is_named(capsys):
    arguments = ["--config-size", "tiny", "--set", "model.dept=2", "--device", "cpu"]
    assert main(["benchmark", "train", *arguments]) == 1
    assert "--set: Key 'dept' not in 'PretrainingModelConfig'" in capsys.readouterr().err
