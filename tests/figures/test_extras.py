"""The libraries of pictures are an extra: other code never imports them, pictures name it."""

import subprocess
import sys

import pytest
from helpers import REPOSITORY


def run(code, *missing):
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in missing)
    start = f"import sys\nsys.path.insert(0, {str(REPOSITORY / 'user_dir')!r})\n"
    command = [sys.executable, "-c", start + blocked + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "missing"),
    [("draw_curves", "matplotlib"), ("render_report", "jinja2"), ("draw_map", "sklearn")],
)
def test_a_missing_library_is_one_line_that_says_how_to_get_it(name, missing):
    attempt = f"try: eat.figures.{name}\nexcept ModuleNotFoundError as error: print(error)"
    assert run(f"import eat.figures\n{attempt}", missing) == [
        f"found no {missing}, which eat.figures.{name} needs: pip install 'eat-fairseq[figures]'"
    ]


@pytest.mark.parametrize(
    ("imports", "unneeded"),
    [("eat.tasks, eat.figures.tensorboard", "matplotlib"), ("eat.training.run", "torch")],
)
def test_neither_training_nor_reading_a_run_imports_what_it_does_not_need(imports, unneeded):
    (modules,) = run(f"import {imports}\nprint(*sys.modules)")
    assert unneeded not in modules.split()
