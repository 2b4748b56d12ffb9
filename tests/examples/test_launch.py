import pytest
from launch import TrainingError, override, train, training_arguments

from eat.paths import user_dir


@pytest.mark.parametrize(
    "value",
    [
        *("/data/plain-path_1.tsv", "/my sounds, [new] {2}: a=b #1 (50 %)", "/it's/'quoted'"),
        *("/back\\slash/and\\'both\\\\'", "/ends with a backslash\\", "/Ünïcode/鳥"),
        *("123", "null", " spaces at both ends "),
        *(None, True, False, 3, -4.651, [0.9, 0.95]),
    ],
)
def test_any_value_survives_hydras_grammar(value):
    hydra = pytest.importorskip("hydra")
    if "\\" in str(value) and hydra.__version__.startswith("1.0."):
        pytest.skip("no way to write a backslash before a quote in the grammar of hydra 1.0")
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    text = override("task.data", value)
    parsed = parser.OverridesParser.create().parse_override(text)
    assert (parsed.key_or_group, parsed.value()) == ("task.data", value)
    assert type(parsed.value()) is type(value)


def test_the_arguments_are_a_recipe_and_what_differs():
    *recipe, door, setting = training_arguments("pretrain_tiny", {"optimization.max_update": 5})
    assert recipe[0] == "--config-dir" and recipe[2:] == ["--config-name", "pretrain_tiny"]
    assert door == override("common.user_dir", user_dir())
    assert setting == "optimization.max_update=5"


def test_a_failed_training_tells_the_end_of_its_log(tmp_path):
    pytest.importorskip("fairseq")
    log = tmp_path / "train.log"
    log.write_text("of an earlier run\n")
    with pytest.raises(TrainingError, match="training failed with status 1; the end of") as error:
        train(["--config-name", "none"], log, 5)
    lines = log.read_text().splitlines()
    assert lines[0] == "of an earlier run" and len(lines) > 1
    assert str(error.value).endswith("\n".join(lines[-25:]))
