import subprocess
import sys

import pytest
from helpers import GOLDEN, REPOSITORY


@pytest.mark.parametrize(
    "name, kind", [("official_pretrain.pt", "pre-training"), ("official_finetune.pt", "fine-tuned")]
)
def test_every_layout_gives_the_same_features(name, kind, tmp_path):
    run = subprocess.run(
        [sys.executable, REPOSITORY / "examples/convert_checkpoint.py", GOLDEN / name, tmp_path],
        env={"PYTHONPATH": str(REPOSITORY / "user_dir")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].endswith(f": a {kind} checkpoint")
    assert [line.split(": ", 1)[1] for line in lines[3:]] == ["features (1, 65, 48), identical"] * 4
