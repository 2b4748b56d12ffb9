"""Run a script with other packages in front of those of this environment."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import pytest

HERE = Path(__file__).parent

# Runs sys.argv[1] as a script that cannot import some packages.
RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys({blocked!r}))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_with(
    requirements: str, script: str, folder: Path, *arguments: str, blocked: Sequence[str] = ()
) -> str:
    """Run `script` with the pinned packages of a file; returns its output.

    The packages go to a folder of their own, without what they depend on: all that is not in the
    file, torch above all, is used as it is here.

    Args:
        requirements, script: files in tests/environments.
        folder: for the packages and for what they leave behind.
        arguments: of the script.
        blocked: packages that the script must do without.
    """
    packages = folder / "site-packages"  # by this name dill, in datasets, knows what to leave out
    install = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"),
            *("--quiet", "--target", str(packages), "--requirement", str(HERE / requirements)),
        ],
        capture_output=True,
        text=True,
    )
    if "Failed to establish a new connection" in install.stderr:
        pytest.skip(f"pip finds no network to install {requirements} from")
    assert install.returncode == 0, install.stderr
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(packages), str(HERE.parent.parent / "user_dir")]),
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", RUN.format(blocked=tuple(blocked)), str(HERE / script), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout
