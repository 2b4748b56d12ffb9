"""The example in JavaScript, which knows nothing but onnxruntime."""

import os
import re
import subprocess
from shutil import which

import numpy as np
import pytest
import soundfile
from environments.target import run_with
from helpers import REPOSITORY

import eat

PACKAGE = "onnxruntime-node@1.30.0"
CONVERT = """
import sys, eat
eat.convert_checkpoint(*sys.argv[1:], to="onnx", input="waveform")
"""


@pytest.fixture
def tag(tmp_path):
    """Runs examples/tag.js."""
    if which("npm") is None:
        pytest.skip("there is no npm")
    command = ["npm", "install", "--ignore-scripts", "--prefix", tmp_path, PACKAGE]
    install = subprocess.run(command, capture_output=True, text=True)
    if re.search("ENOTFOUND|EAI_AGAIN|ECONNREFUSED", install.stderr):
        pytest.skip(f"npm finds no network to install {PACKAGE} from")
    assert install.returncode == 0, install.stderr

    def run(*arguments):
        command = ["node", REPOSITORY / "examples" / "tag.js", *arguments]
        environment = {**os.environ, "NODE_PATH": str(tmp_path / "node_modules")}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_it_says_what_the_classifier_says(tag, tmp_path, official_finetune):
    graph, script = tmp_path / "tagger.onnx", tmp_path / "convert.py"
    script.write_text(CONVERT)
    run_with("onnx.txt", str(script), tmp_path, official_finetune, str(graph))
    samples = np.load(REPOSITORY / "tests" / "golden" / "golden_pretrain.npz")["wave_1s"]
    for name, rate in (("dog.wav", 16_000), ("slow.wav", 8_000)):
        soundfile.write(tmp_path / name, samples, rate, subtype="PCM_16")
    content = (tmp_path / "dog.wav").read_bytes()
    data = content.index(b"data")
    note = b"LIST\x05\0\0\0" + b"notes\0"  # a chunk of odd length, in front of the samples
    (tmp_path / "noted.wav").write_bytes(content[:data] + note + content[data:])
    ((_, tags),) = eat.tag([str(tmp_path / "dog.wav")], official_finetune).files
    lines = [f"{one.probability:.4f}  {one.label}\n" for one in tags]
    for name in ("dog.wav", "noted.wav"):
        assert tag(graph, tmp_path / name).stdout == "".join(lines)
    assert tag(graph, tmp_path / "dog.wav", "1").stdout == lines[0]
    (tmp_path / "text.wav").write_text("hello")
    for name, found in (("slow.wav", "format 1, 16 bits, 8000 Hz"), ("text.wav", "no wav file")):
        refused = tag(graph, tmp_path / name)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"{tmp_path / name}: found {found}")
