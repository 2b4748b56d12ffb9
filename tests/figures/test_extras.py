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
    found = run(
        f"import eat.figures\ntry: eat.figures.{name}\n"
        "except ModuleNotFoundError as error: print(error)",
        missing,
    )
    assert found == [
        f"found no {missing}, which eat.figures.{name} needs: pip install 'eat-fairseq[figures]'"
    ]


def test_training_does_not_import_matplotlib():
    (modules,) = run("import eat.tasks, eat.figures.tensorboard\nprint(*sys.modules)")
    assert "matplotlib" not in modules.split()


def test_a_run_is_read_without_torch():
    (modules,) = run("import eat.training.run\nprint(*sys.modules)")
    assert "torch" not in modules.split()
