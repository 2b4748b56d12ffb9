import os
import subprocess
import sys

import pytest
import torch

from eat.benchmark.machine import (
    MatmulPeak,
    describe_machine,
    median_and_minimum,
    run_in_fresh_process,
)


def test_the_machine_is_named():
    found = describe_machine("cpu")
    assert found["torch"] == torch.__version__
    assert found["cores"] == os.cpu_count()
    assert found["processor"]


def test_times_are_milliseconds():
    assert median_and_minimum([0.1, 0.3, 0.2]) == pytest.approx({"median": 200, "minimum": 100})


def test_the_peak_is_the_median_of_the_fastest_size(monkeypatch):
    """At 1, 3 and 2 s each: 2 n^3 operations in 2 s, of the larger n."""
    times = iter([9.0, 9.0, 1.0, 1.0, 3.0, 3.0, 2.0, 2.0])
    monkeypatch.setattr("eat.benchmark.machine.time_call", lambda *_: next(times))
    peak = MatmulPeak("cpu", torch.float32)
    for _ in range(3):
        peak.measure()
    assert peak.flops_per_second == 2 * 4096**3 / 2.0


def test_memory_is_counted_at_its_peak_though_it_was_freed():
    code = (
        "import numpy as np\n"
        "from eat.benchmark.machine import PeakMemory\n"
        "memory = PeakMemory('cpu')\n"
        "np.ones(200_000_000, np.uint8)\n"
        "print(memory.growth)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 190e6 < int(found.stdout) < 230e6


def test_a_process_that_dies_is_an_error():
    with pytest.raises(ValueError, match="9: the process was killed, too little memory?"):
        run_in_fresh_process(os._exit, 9)


def test_errors_of_the_process_are_ours():
    with pytest.raises(ValueError, match="invalid literal for int"):
        run_in_fresh_process(int, "x")
