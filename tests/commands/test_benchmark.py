import json
import re

import pytest

from eat.commands.main import main

MINIATURE = ["--config-size", "tiny", "--set", "model.depth=2", "model.average_top_k_layers=2"]


def benchmark(*arguments):
    return main(["benchmark", *arguments, "--device", "cpu"])


@pytest.mark.slow
def test_a_real_update(tmp_path, capsys):
    """Two batch sizes of a small model, each in its own process."""
    out = tmp_path / "new" / "speed.json"
    numbers = ("--clips", "1", "2", "--repeats", "1")
    assert benchmark("train", *MINIATURE, *numbers, "--out", str(out)) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(out.read_text())
    assert lines[0].split()[0] == "processor" and found["machine"]["processor"] in lines[0]
    assert "  clips/s  update ms  " in lines[-3] and "  share of peak  " in lines[-3]
    one, two = found["cases"]
    assert [one["clips"], two["clips"]] == [1, 2]
    assert [line.split()[:4] for line in lines[-2:]] == [
        ["tiny", "fp32", "false", "1"],
        ["tiny", "fp32", "false", "2"],
    ]
    assert two["tflop"] == pytest.approx(2 * one["tflop"])
    for case in found["cases"]:
        assert case["settings"] == "model.depth=2 model.average_top_k_layers=2"
        assert 0 < case["share_of_peak"] < 1
        assert 0 < case["memory_gb"] <= case["update_memory_gb"]


@pytest.mark.slow
def test_waiting_for_data_and_profile(manifests, capsys):
    arguments = ["--data", str(manifests), "--clips", "4", "--repeats", "2", "--profile"]
    for form in ([], ["--json"]):
        assert benchmark("train", *MINIATURE, *arguments, *form) == 0
    table, text = capsys.readouterr().out.split("{", 1)
    assert "  data wait ms" in table and "aten::" in table
    (case,) = json.loads("{" + text)["cases"]
    assert case["data_wait_ms_median"] >= 0
    assert "aten::" in case["profile"]


def test_a_wrong_setting_is_named(capsys):
    assert benchmark("train", "--config-size", "tiny", "--set", "model.dept=2") == 1
    assert "--set: Key 'dept' not in 'PretrainingModelConfig'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_manifest_is_read_as_fast_as_training_needs_it(manifests, capsys):
    file, numbers = str(manifests / "train.tsv"), ("--clips", "4", "--repeats", "1")
    assert benchmark("data", file, *numbers, "--workers", "1", "--json") == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert (case["manifest"], case["config"], case["workers"]) == (file, "tiny", 1)
    assert case["needed_clips_per_second"] == pytest.approx(4e3 / case["update_ms"])
    assert case["waits"] == (case["clips_per_second"] < case["needed_clips_per_second"])


@pytest.mark.slow
def test_extraction(official_pretrain, capsys):
    numbers = ("--seconds", "1", "--recordings", "2", "--repeats", "1")
    arguments = ("--checkpoint", official_pretrain, "--dtype", "fp32")
    assert benchmark("extract", *numbers, *arguments) == 0
    headings, row = capsys.readouterr().out.splitlines()[-2:]
    names = "network clips/s network batch clips/s share one by one clips/s gain"
    assert re.sub(" +", " ", headings).endswith(names)
    assert row.startswith("official_pretrain.pt   fp32  wav 16 kHz mono, 1 s")
