"""What a process does that was forked while signals arrive."""

import subprocess
import sys

import pytest

# A signal arrives in the child before it has its own handlers.
FORK = """
import os, signal, sys, time
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), getattr(signal, sys.argv[1])))
from eat.training import stopping
stopping.listen()
child = os.fork()
if child == 0:
    time.sleep(0.5)
    os._exit(7)
print(os.waitpid(child, 0)[1] >> 8, signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_during_a_fork_does_not_unwind_a_copy_of_the_parent(name):
    command = [sys.executable, "-c", FORK, name]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("7 set()\n", "", 0)
