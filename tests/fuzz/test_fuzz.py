"""A short run of the fuzzer; see `fuzz/run.py` for the long one."""

import pytest
from fuzz.run import fuzz

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "target, num_cases",
    [("parsers", 2000), ("audio", 300), ("checkpoints", 300), ("safetensors", 100)],
)
def test_nothing_but_refusals(tmp_path, target, num_cases):
    report = fuzz(target, num_cases, seed=1, folder=tmp_path)
    assert report.findings == []
