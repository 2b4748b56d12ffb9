import json
import sys
from importlib import metadata

import pytest

from eat import paths
from eat.commands import doctor
from eat.commands.doctor import Finding, Part, examine
from eat.commands.main import main
from eat.machine import processor_name

INFERENCE = Part("inference", "features and tags")
TRAINING = Part("training", "pre-training and fine-tuning")
FRAGILE = Part("fragile", "nothing", ("fragile",), may_crash=True)
FAIRSEQ = Part("fairseq", "training", ("ve-fairseq",), may_crash=True)
SOXR = Part("soxr", "resampling audio", ("soxr",), may_crash=True)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(name, code)` puts a module in front of all others."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)

    return install


@pytest.mark.slow
def test_this_environment(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["python"].startswith(sys.version.split()[0])
    assert found["config"] == str(paths.config_dir())
    assert found["user_dir"] == str(paths.user_dir())
    parts = {part["name"]: part for part in found["parts"]}
    assert list(parts) == [part.name for part in doctor.PARTS]
    assert all(parts[name]["state"] == "works" for name in ("torch", "soundfile", "inference"))
    assert parts["torch"]["details"] == [metadata.version("torch")]
    assert "FLAC" in parts["inference"]["details"][1].split()
    assert parts["inference"]["details"][2].startswith(f"CPU: {processor_name()}, ")
    assert parts["training"]["state"] == parts["fairseq"]["state"]


@pytest.mark.parametrize(
    "part, state, details",
    [
        (("numpy", "everything", ("nompy", "numpy")), "found", [metadata.version("numpy")]),
        *((("none", "all", ("no-such",), may_crash), "absent", []) for may_crash in (False, True)),
    ],
)
def test_what_cannot_crash_is_only_looked_up(install, part, state, details):
    install("numpy", "raise RuntimeError('not imported')")
    assert examine([Part(*part)]) == [Finding(*part[:2], state, details)]


@pytest.mark.parametrize(
    "code, state, details",
    [
        ("raise RuntimeError('for another torch')", "broken", "RuntimeError: for another torch"),
        ("import no_such", "broken", "ModuleNotFoundError: No module named 'no_such'"),
        ("import os; os.abort()", "broken", "killed by SIGABRT"),
        (
            "import sys; print('licence\\nexpired', file=sys.stderr); sys.exit(3)",
            *("broken", "left with exit status 3: expired"),
        ),
        ("import time; time.sleep(60)", "broken", "did not finish within 0.5 s"),
        ("print('this is not its result')", "works", "of unknown version"),
    ],
)
def test_what_may_crash_is_imported_elsewhere(install, monkeypatch, code, state, details):
    install("fragile", code)
    if "sleep" in code:
        monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 0.5)
    assert examine([FRAGILE]) == [Finding("fragile", "nothing", state, [details])]


def test_inference_that_does_not_work(install, monkeypatch, capsys):
    install("soxr", "raise ImportError('libsoxr.so.0: cannot open shared object file')")
    monkeypatch.setattr(doctor, "PARTS", (SOXR, INFERENCE))
    assert main(["doctor"]) == 1
    reason = "ImportError: libsoxr.so.0: cannot open shared object file"
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"broken  soxr          {reason}; for resampling audio"
    assert lines[-1] == f"broken  inference     {reason}; for features and tags"


def test_inference_without_training(install, monkeypatch, capsys):
    install("fairseq", "raise AttributeError('module numpy has no attribute float')")
    pies = Part("h5pie", "pies", ("h5pie",))
    monkeypatch.setattr(doctor, "PARTS", (FAIRSEQ, pies, INFERENCE, TRAINING))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()[4:]
    reason = "AttributeError: module numpy has no attribute float"
    assert lines[:2] == [
        f"broken  fairseq       {reason}; for training",
        "absent  h5pie         not installed; for pies",
    ]
    assert lines[2] == "works   inference     read, resampled and embedded a second of sound"
    assert lines[-1] == f"broken  training      {reason}; for pre-training and fine-tuning"


@pytest.mark.parametrize(
    "module, code, part, message",
    [
        ("soxr", "def resample(samples, *rates): return samples", INFERENCE, "expected 16000 by"),
        ("fairseq", "__version__ = '0.12.2'", TRAINING, "No module named 'fairseq.data'"),
    ],
)
def test_a_package_that_does_not_do_its_work(install, module, code, part, message):
    install(module, code)
    (finding,) = examine([part])
    assert finding.state == "broken"
    assert message in finding.details[0]


def test_missing_configs_are_told(monkeypatch, capsys):
    def config_dir():
        raise FileNotFoundError("expected pretrain_base.yaml, found neither")

    monkeypatch.setattr(paths, "config_dir", config_dir)
    monkeypatch.setattr(doctor, "PARTS", ())
    assert main(["doctor"]) == 1  # nothing was tried
    out = capsys.readouterr().out
    assert "\n        config        expected pretrain_base.yaml, found neither\n" in out
