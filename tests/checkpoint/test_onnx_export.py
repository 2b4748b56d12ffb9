import importlib.util

import pytest
from environments.target import run_with

from eat.checkpoint import convert_checkpoint


def test_missing_packages_are_named(official_pretrain, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    found = {"onnx": find_spec("json"), "onnxscript": None, "onnxruntime": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found[name] if name in found else find_spec(name)
    )
    with pytest.raises(
        ValueError, match=r"found no onnxscript, onnxruntime, .*pip install 'eat-fairseq\[onnx\]'"
    ):
        convert_checkpoint(official_pretrain, tmp_path / "model.onnx", to="onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_graphs_compute_what_torch_computes(tmp_path):
    output = run_with("onnx.txt", "check_onnx.py", tmp_path, str(tmp_path))
    # Nothing else: the exporter's own warnings would only worry people.
    assert output.startswith("onnxruntime ") and output.count("\n") == 1
