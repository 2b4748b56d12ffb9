"""The script for a GPU, on a CPU: every column and kind, of one small case of each sort."""

import json
import logging

import gpu_speed
import pytest

SMALL = [
    *("model.embed_dim=48", "model.num_heads=4", "model.depth=2", "model.average_top_k_layers=2"),
    *("model.decoder_depth=1", "model.num_clones=2", "model.mask_block_size=1"),
    "task.target_length=64",
]


@pytest.fixture
def here(monkeypatch):
    """Run the cases in this process, with fairseq as it is and a peak of 1e12 FLOP/s."""
    monkeypatch.setattr("eat.training.replacements.install", lambda: None)
    for module in ("gpu_speed", "eat.benchmark.update"):
        monkeypatch.setattr(f"{module}.matmul_rate", lambda device, dtype: 1e12)
    yield lambda measure, cases: list(map(measure, cases))
    logging.disable(logging.NOTSET)


def test_both_tables_of_small_networks(here, tmp_path, capsys):
    options = ["--device", "cpu", "--sizes", "tiny", "--dtypes", "fp32", "--compile", "off"]
    options += ["--clips", "1", "--repeats", "1", "--out", str(tmp_path / "speed.json")]
    assert gpu_speed.main([*options, "--set", *SMALL], run=here) == 0
    pretraining, fine_tuning = json.loads((tmp_path / "speed.json").read_text())["cases"]
    assert [fine_tuning[key] for key in ("config", "compile")] == ["tiny, 33 tokens", "false"]
    for case in (pretraining, fine_tuning):
        assert set(case["kinds"]) == {*gpu_speed.KINDS, "other", "waiting"}
        assert sum(case["kinds"].values()) == pytest.approx(1)
        assert 0 < case["kinds"]["matmul"] < 1 and 0 < case["share_of_peak"] < 1
    assert pretraining["kinds"]["convolution"] > 0 == fine_tuning["kinds"]["convolution"]
    assert set(gpu_speed.COLUMNS) <= set(pretraining)
    lines = capsys.readouterr().out.splitlines()
    assert "share of peak" in lines[-8] and "matmul" in lines[-3]
    assert [line.split()[0] for line in lines[-2:]] == ["tiny", "tiny,"]


def test_a_machine_without_a_gpu_is_told(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu_speed.main([])
    assert "--device: found no CUDA device, expected one" in capsys.readouterr().err
