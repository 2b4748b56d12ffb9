import json
import sys
from importlib import metadata

import pytest

from eat import paths
from eat.commands import doctor
from eat.commands.doctor import Finding, Part, examine
from eat.commands.main import main
from eat.machine import describe_hardware

INFERENCE = Part("inference", "features and tags", "try")
TRAINING = Part("training", "pre-training and fine-tuning", "try")
FRAGILE = Part("fragile", "nothing", "import")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(name, code)` puts a module in front of all others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name, code: (tmp_path / f"{name}.py").write_text(code)


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
    assert parts["inference"]["details"][2].startswith(f"CPU: {describe_hardware().processor}, ")
    assert parts["training"]["state"] == parts["fairseq"]["state"]


def test_what_cannot_crash_is_only_looked_up(install):
    install("sklearn", "raise RuntimeError('not imported')")  # of another name on PyPI
    assert examine([Part("sklearn", "probes")]) == [
        Finding("sklearn", "probes", "found", [metadata.version("scikit-learn")])
    ]


def test_the_libraries_of_labels_in_time_are_parts():
    assert {"sed_eval", "sed_scores_eval"} <= {part.name for part in doctor.PARTS}


@pytest.mark.parametrize("how", ["look up", "import"])
def test_a_part_that_is_absent(how):
    assert examine([Part("no_such_package", "nothing", how)]) == [
        Finding("no_such_package", "nothing", "absent", [])
    ]


@pytest.mark.parametrize(
    "code, state, details",
    [
        ("print('[hello')", "works", "of unknown version"),
        ("raise RuntimeError('another torch')", "broken", "RuntimeError: another torch"),
        ("import no_such", "broken", "ModuleNotFoundError: No module named 'no_such'"),
        ("import os; os.abort()", "broken", "killed by SIGABRT"),
        ("import time; time.sleep(60)", "broken", "did not finish within 1 s"),
        (
            "import sys; print('licence\\nexpired', file=sys.stderr); sys.exit(3)",
            "broken",
            "left with exit status 3: expired",
        ),
    ],
)
def test_a_part_is_imported(install, monkeypatch, code, state, details):
    install("fragile", code)
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 1 if "sleep" in code else 300)
    assert examine([FRAGILE]) == [Finding("fragile", "nothing", state, [details])]


def test_transformers_that_cannot_load_audio_models(install):
    part = Part("transformers", "exported models", "try")
    install(
        "transformers", "__version__ = '5.0'\ndef __getattr__(name): raise OSError('torchaudio')"
    )
    assert examine([part]) == [Finding(*part[:2], "broken", ["OSError: torchaudio"])]
    install("transformers", "__version__ = '5.0.0'\npipeline = None")
    assert examine([part]) == [Finding(*part[:2], "works", ["5.0.0"])]


def test_inference_that_does_not_work(install, monkeypatch, capsys):
    install("soxr", "raise ImportError('libsoxr.so.0: cannot open shared object file')")
    soxr = Part("soxr", "resampling audio", "import")
    monkeypatch.setattr(doctor, "PARTS", (soxr, INFERENCE))
    assert main(["doctor"]) == 1
    reason = "ImportError: libsoxr.so.0: cannot open shared object file"
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"broken  soxr          {reason}; for resampling audio",
        f"broken  inference     {reason}; for features and tags",
    ]


def test_inference_without_training(install, monkeypatch, capsys):
    install("fairseq", "raise AttributeError('module numpy has no attribute float')")
    fairseq, pies = Part("fairseq", "training", "import"), Part("h5pie", "pies")
    monkeypatch.setattr(doctor, "PARTS", (fairseq, pies, INFERENCE, TRAINING))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()[4:]
    reason = "AttributeError: module numpy has no attribute float"
    assert lines[:3] == [
        f"broken  fairseq       {reason}; for training",
        "absent  h5pie         not installed; for pies",
        "works   inference     read, resampled and embedded a second of sound",
    ]
    assert lines[-1] == f"broken  training      {reason}; for pre-training and fine-tuning"


@pytest.mark.parametrize(
    "name, code, part, reason",
    [
        # A resampler that returns nonsense, and a fairseq that was not compiled.
        ("soxr", "def resample(x, *_): return x", INFERENCE, "expected 16000 by its header"),
        ("fairseq", "__path__ = []", TRAINING, "No module named 'fairseq.data'"),
    ],
)
def test_an_ability_that_is_broken(install, name, code, part, reason):
    install(name, code)
    (finding,) = examine([part])
    assert finding.state == "broken"
    assert reason in finding.details[0]


def test_missing_configs_are_told(monkeypatch, capsys):
    def config_dir():
        raise FileNotFoundError("expected pretrain_base.yaml, found neither")

    monkeypatch.setattr(paths, "config_dir", config_dir)
    monkeypatch.setattr(doctor, "PARTS", ())
    assert main(["doctor"]) == 1  # nothing was tried
    out = capsys.readouterr().out
    assert "\n        config        expected pretrain_base.yaml, found neither\n" in out
