import subprocess
import sys

import pytest
from helpers import MINIATURE

from eat.paths import user_dir
from eat.training.launch import (
    TrainingError,
    find_error,
    override,
    recipe_arguments,
    train,
    training_arguments,
)


@pytest.mark.parametrize(
    "value",
    [
        "/data/plain-path_1.tsv",
        "/my sounds, [new] {2}: a=b #1 (50 %)",
        "/it's/'quoted'",
        "/back\\slash/and\\'both\\\\'",
        "/ends with a backslash\\",
        "/Ünïcode/鳥",
        "123",
        "null",
        " spaces at both ends ",
    ],
)
def test_any_text_survives_hydras_grammar(value):
    hydra = pytest.importorskip("hydra")
    if "\\" in value and hydra.__version__.startswith("1.0."):
        pytest.skip("no way to write a backslash before a quote in the grammar of hydra 1.0")
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    text = override("task.data", value)
    parsed = parser.OverridesParser.create().parse_override(text)
    assert (parsed.key_or_group, parsed.value()) == ("task.data", value)


@pytest.mark.parametrize("value", [None, True, False, 3, -4.651, [0.9, 0.95]])
def test_numbers_and_truth_values_stay_what_they_are(value):
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    parsed = parser.OverridesParser.create().parse_override(override("a.b", value))
    assert parsed.value() == value and type(parsed.value()) is type(value)


def test_the_arguments_are_a_recipe_and_what_differs():
    *recipe, door, setting = training_arguments("pretrain_tiny", {"optimization.max_update": 5})
    assert recipe[0] == "--config-dir" and recipe[2:] == ["--config-name", "pretrain_tiny"]
    assert door == override("common.user_dir", user_dir())
    assert setting == "optimization.max_update=5"


@pytest.mark.slow
def test_a_failed_training_tells_the_end_of_its_log(tmp_path):
    pytest.importorskip("fairseq")
    log = tmp_path / "train.log"
    log.write_text("of an earlier run\n")
    with pytest.raises(TrainingError, match="training failed with status 1; the end of") as error:
        train(["--config-name", "none"], log, 5)
    lines = log.read_text().splitlines()
    assert lines[0] == "of an earlier run" and len(lines) > 1
    assert str(error.value).endswith("\n".join(lines[-25:]))


@pytest.mark.parametrize(
    ("config", "text", "message"),
    [
        ("pretrain_tin", "a.b=1", "found no such recipe, .*; the nearest is pretrain_tiny"),
        ("a.b=data/x", "tiny", "recipe comes first, settings behind it.*one of .*pretrain_tiny"),
        ("pretrain_tiny", "task.meen=1", "task.meen: found no such setting.*nearest is task.mean"),
        ("pretrain_tiny", "optimization.lr=0.1", r"optimization.lr: found 0.1, .* such as \[0.1\]"),
        ("pretrain_tiny", "common.user_dir=/nowhere", "common.user_dir: found /nowhere, expected"),
        ("pretrain_tiny", "task.mean", "task.mean: found no =, expected section.key=value"),
    ],
)
def test_what_the_plugin_cannot_reach_is_refused_before(config, text, message):
    with pytest.raises(ValueError, match=message):
        recipe_arguments(config, [text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"task: [1\n", r"mine\.yaml: no recipe: .* line 2, column 1"),
        (b"- task\n", r"mine\.yaml: no recipe: "),
        (b"task: \xff", r"mine\.yaml: no recipe: .*utf-8"),
        (b"", r"a\.b: found no such setting in .*mine\.yaml"),
    ],
)
def test_a_recipe_that_is_none(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        recipe_arguments(str(tmp_path / "mine.yaml"), ["a.b=1"])


def test_what_hydra_knows_without_the_recipe_is_handed_on():
    texts = ["+task.new=1", "~task.mean", "hydra.verbose=true", "+run_config=local"]
    assert recipe_arguments("pretrain_tiny", texts)[-4:] == texts


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["error: a", "later"], "error: a"),
        (["Error merging override a.b=x", "Value 'x'", "    full_key: b"], None),
        (["Traceback", "  File", "RuntimeError: no"], "error: RuntimeError: no"),
    ],
)
def test_the_line_that_says_why(lines, expected):
    assert find_error(lines) == (expected or "error: Error merging override a.b=x Value 'x'")


@pytest.mark.slow
def test_eat_train_shows_what_is_useful_and_passes_the_status_on(manifests, tmp_path):
    pytest.importorskip("fairseq")
    command = [sys.executable, "-m", "eat.commands.main", "train", "pretrain_tiny"]
    settings = [f"task.data='{manifests}'", f"checkpoint.save_dir={tmp_path}/run", *MINIATURE]
    options = {"cwd": tmp_path, "capture_output": True, "text": True}
    run = subprocess.run([*command, *settings, "optimization.max_update=2"], **options)
    assert run.returncode == 0 and run.stderr == ""
    assert "Saved checkpoint" in run.stdout and "UserWarning" not in run.stdout
    run = subprocess.run([*command, *settings, "common.seed=x"], **options)
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
    assert "common.seed=x" in run.stderr
