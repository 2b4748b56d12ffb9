import json
import sys

import pytest

from eat import paths
from eat.commands import doctor
from eat.commands.doctor import Finding, Part, examine
from eat.commands.main import main

INFERENCE = Part("inference", "features and tags")
TRAINING = Part("training", "pre-training and fine-tuning")


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
    assert list(parts) == [part.name for part in (*doctor.PACKAGES, *doctor.ABILITIES)]
    assert all(parts[name]["state"] == "works" for name in ("torch", "soundfile", "inference"))
    assert any("FLAC" in detail.split() for detail in parts["soundfile"]["details"])
    assert parts["training"]["state"] == parts["fairseq"]["state"]


def test_a_part_that_is_absent():
    assert examine([Part("no_such_package", "nothing")]) == [
        Finding("no_such_package", "nothing", "absent", [])
    ]


@pytest.mark.parametrize(
    "code, reason",
    [
        ("raise RuntimeError('built for another torch')", "RuntimeError: built for another torch"),
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("import os; os.abort()", "killed by SIGABRT"),
        (
            "import sys; print('licence\\nexpired', file=sys.stderr); sys.exit(3)",
            "left with exit status 3: expired",
        ),
    ],
)
def test_a_part_that_is_broken(install, code, reason):
    install("fragile", code)
    assert examine([Part("fragile", "nothing")]) == [
        Finding("fragile", "nothing", "broken", [reason])
    ]


def test_a_part_that_hangs(install, monkeypatch):
    install("slow", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 0.5)
    (finding,) = examine([Part("slow", "nothing")])
    assert finding.details == ["did not finish within 0.5 s"]


def test_what_a_part_prints_is_not_taken_for_its_result(install, tmp_path):
    install("talkative", "print('hello', end=''); __version__ = '1.2'")
    (finding,) = examine([Part("talkative", "nothing")])
    assert finding == Finding("talkative", "nothing", "works", [f"1.2, {tmp_path / 'talkative'}"])


def test_a_half_imported_module_is_tried(install, monkeypatch):
    install("odd", "")
    monkeypatch.setitem(sys.modules, "odd", type(sys)("odd"))  # without a spec
    (finding,) = examine([Part("odd", "nothing")])
    assert finding.state == "works"


def test_inference_that_does_not_work(install, monkeypatch, capsys):
    install("soxr", "raise ImportError('libsoxr.so.0: cannot open shared object file')")
    monkeypatch.setattr(doctor, "PACKAGES", (Part("soxr", "resampling audio"),))
    monkeypatch.setattr(doctor, "ABILITIES", (INFERENCE,))
    assert main(["doctor"]) == 1
    reason = "ImportError: libsoxr.so.0: cannot open shared object file"
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"broken  soxr          {reason}; for resampling audio"
    assert lines[-1] == f"broken  inference     {reason}; for features and tags"


def test_inference_without_training(install, monkeypatch, capsys):
    install("fairseq", "raise AttributeError('module numpy has no attribute float')")
    monkeypatch.setattr(doctor, "PACKAGES", (Part("fairseq", "training"), Part("h5pie", "pies")))
    monkeypatch.setattr(doctor, "ABILITIES", (INFERENCE, TRAINING))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()[4:]
    reason = "AttributeError: module numpy has no attribute float"
    assert lines == [
        f"broken  fairseq       {reason}; for training",
        "absent  h5pie         not installed; for pies",
        "works   inference     read, resampled and embedded a second of sound",
        f"broken  training      {reason}; for pre-training and fine-tuning",
    ]


def test_a_resampler_that_returns_nonsense(install):
    install("soxr", "def resample(samples, *rates): return samples")
    (finding,) = examine([Part("soxr", "resampling audio")])
    reason = "ValueError: found 8000 samples after resampling, expected 16000"
    assert finding.details == [reason]


def test_a_fairseq_that_was_not_compiled(install):
    install("fairseq", "__version__ = '0.12.2'")
    (finding,) = examine([Part("fairseq", "training")])
    assert finding.state == "broken"
    assert finding.details == ["ModuleNotFoundError: No module named 'fairseq.data'"]


def test_missing_configs_are_told(monkeypatch, capsys):
    def config_dir():
        raise FileNotFoundError("expected pretrain_base.yaml, found neither")

    monkeypatch.setattr(paths, "config_dir", config_dir)
    monkeypatch.setattr(doctor, "PACKAGES", ())
    monkeypatch.setattr(doctor, "ABILITIES", ())
    assert main(["doctor"]) == 1  # nothing was tried
    out = capsys.readouterr().out
    assert "\n        config        expected pretrain_base.yaml, found neither\n" in out
