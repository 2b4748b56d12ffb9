import multiprocessing
import os
import subprocess
import sys

import pytest
import torch

from eat.benchmark import describe_machine, measuring, run_cases
from eat.benchmark.measuring import matmul_rate, milliseconds


def test_the_machine_is_named():
    found = describe_machine("cpu")
    assert found["torch"] == torch.__version__
    assert found["cores"] == os.cpu_count()
    assert found["processor"]


def test_times_are_milliseconds():
    found = milliseconds("update", [0.1, 0.3, 0.2])
    assert found == pytest.approx({"update_ms_median": 200, "update_ms_minimum": 100})


def test_the_peak_is_that_of_the_fastest_size(monkeypatch):
    """At 1 and 2 s: 2 n^3 operations in 2 s, of the larger n."""
    times = iter([1.0, 2.0])
    monkeypatch.setattr(measuring, "time_call", lambda *_: next(times))
    assert matmul_rate("cpu", torch.float32) == 2 * 4096**3 / 2.0


def test_memory_is_counted_at_its_peak_though_it_was_freed():
    code = (
        "import numpy as np\n"
        "from eat.benchmark.measuring import peak_bytes\n"
        "before = peak_bytes('cpu')\n"
        "np.ones(200_000_000, np.uint8)\n"
        "print(peak_bytes('cpu') - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 190e6 < int(found.stdout) < 230e6


def test_results_are_those_of_fresh_processes():
    assert run_cases(int, ["7", "8"]) == [7, 8]
    default = multiprocessing.get_context().get_start_method()
    assert run_cases(multiprocessing.get_start_method, [False]) == [default]


def test_errors_of_a_process_are_ours():
    with pytest.raises(ValueError, match="9: the process was killed, too little memory?"):
        run_cases(os._exit, [9])
    with pytest.raises(ValueError, match="invalid literal for int"):
        run_cases(int, ["x"])
