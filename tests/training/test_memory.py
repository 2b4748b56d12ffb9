import subprocess
import sys

import pytest

# Writes to 64 MB again and again; prints how many pages the system had to provide the last time.
CODE = """
import resource
import numpy as np
from eat.training.memory import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64_000_000, np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    code = CODE.format(keep=keep)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="is about glibc")
def test_freed_memory_is_used_again():
    given_back = faults(keep=False)
    if given_back < 1000:
        pytest.skip("this C library keeps it anyway")
    assert faults(keep=True) < 100
