import subprocess
import sys

from helpers import REPOSITORY, write_clips


def test_the_example_prints_the_shapes(tmp_path, official_pretrain):
    (first, _), (second, _) = write_clips(tmp_path, 2)
    example = REPOSITORY / "examples" / "extract_features.py"
    command = [sys.executable, example, official_pretrain, first, second]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "clip 0.wav: utterance (48,), frame (56, 48),",
        "  time (7, 48) from 0.08 to 1.04 s",
        "clip 1.wav: utterance (48,), frame (64, 48),",
        "  time (8, 48) from 0.08 to 1.20 s",
        "all layers (3, 48)",
        "all layers (3, 48)",
        "padded, with CLS (513, 48)",
    ]
