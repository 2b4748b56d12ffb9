import dataclasses

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from helpers import GOLDEN

import eat
from eat.checkpoint import CheckpointError, convert_checkpoint, load_checkpoint, native
from eat.commands.main import main
from eat.nn import Encoder, EncoderConfig

PARTS = ("encoder", "decoder", "teacher", "classifier")


def released(path):
    return torch.load(path, weights_only=True)


def flat(model):
    """The model section of a checkpoint with `_ema.` before the teacher's keys."""
    teacher = model.get("_ema", {})
    student = {key: value for key, value in model.items() if key != "_ema"}
    return {**student, **{f"_ema.{key}": value for key, value in teacher.items()}}


def assert_same_weights(found, expected, parts=PARTS):
    for part in parts:
        first, second = getattr(found, part), getattr(expected, part)
        assert (first is None) == (second is None), part
        for key in second or {}:
            assert torch.equal(first[key], second[key]), f"{part}.{key}"
        assert (first or {}).keys() == (second or {}).keys()


def save_encoder(config, path):
    """A checkpoint of ours with nothing but a new encoder."""
    weights = {f"encoder.{key}": value for key, value in Encoder(config).state_dict().items()}
    cfg = {"model": {"_name": "eat", **dataclasses.asdict(config)}}
    torch.save({"cfg": cfg, "model": weights}, path)


BOTH = pytest.mark.parametrize("name", ["official_pretrain.pt", "official_finetune.pt"])


@BOTH
def test_official_to_ours_and_back_is_exact(name, tmp_path):
    ours, back = tmp_path / "ours", tmp_path / "back.pt"
    convert_checkpoint(GOLDEN / name, ours, to="eat")
    convert_checkpoint(ours, back, to="official")
    expected, found = flat(released(GOLDEN / name)["model"]), flat(released(back)["model"])
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype
    first, second = (
        dataclasses.replace(load_checkpoint(path), path="", **dict.fromkeys(PARTS))
        for path in (GOLDEN / name, back)
    )
    assert first == second


@pytest.mark.parametrize("to", ["eat", "safetensors", "huggingface"])
def test_every_setting_of_the_encoder_is_kept(to, tmp_path):
    """Also one that is added later: what layouts write is made from the fields."""
    settings = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "norm_eps": 1e-5}
    config = EncoderConfig(**settings, patch_size=8, num_mel_bins=64, num_position_rows=8)
    assert all(getattr(config, f.name) != f.default for f in dataclasses.fields(config))
    save_encoder(config, tmp_path / "in.pt")
    convert_checkpoint(tmp_path / "in.pt", tmp_path / "out", to=to)
    assert load_checkpoint(tmp_path / "out").encoder_config == config


@BOTH
def test_the_released_configuration_is_kept(name, tmp_path):
    """Every setting that we write has the value that the released code had saved."""
    convert_checkpoint(GOLDEN / name, tmp_path / "back.pt", to="official")
    recorded, written = released(GOLDEN / name), released(tmp_path / "back.pt")
    differences = {
        key: (value, _select(recorded["cfg"], key))
        for key, value in _leaves(written["cfg"])
        if value != _select(recorded["cfg"], key) and not key.endswith(".data")
    }
    allowed = {"common.user_dir", "criterion.log_keys", "model.model_path", "model.max_update"}
    assert {key for key in differences if not key.startswith("model.pretrained")} <= allowed
    assert written["task_state"] == recorded["task_state"]
    assert set(written) == set(recorded)
    state = checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "back.pt"))  # fairseq reads it
    assert state["cfg"].model._name in ("data2vec_multi", "mae_image_classification")


def _leaves(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _select(node, key):
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


@pytest.mark.parametrize("to", ["eat", "official", "safetensors"])
@BOTH
def test_exports_load_and_keep_everything_else(name, to, tmp_path):
    convert_checkpoint(GOLDEN / name, tmp_path / "out", to=to)
    expected, found = load_checkpoint(GOLDEN / name), load_checkpoint(tmp_path / "out")
    assert_same_weights(found, expected, ("encoder", "classifier"))
    assert found.kind == expected.kind
    assert found.encoder_config == expected.encoder_config
    assert (found.labels, found.activation) == (expected.labels, expected.activation)
    assert found.log_mel == expected.log_mel
    assert (found.teacher is None) == (to == "safetensors" or expected.teacher is None)


def test_a_pretraining_model_survives_conversion(official_pretrain, golden, tmp_path):
    convert_checkpoint(official_pretrain, tmp_path / "ours.pt", to="eat")
    first = eat.load_pretraining_model(official_pretrain, mask_noise_std=0.0)
    second = eat.load_pretraining_model(tmp_path / "ours.pt", mask_noise_std=0.0)
    inputs = {"source": golden("source"), "mask": golden("mask").bool().view(2, 4, 64)}
    for key, value in first(**inputs).items():
        assert torch.equal(second(**inputs)[key], value)


def test_the_classifier_gives_the_recorded_logits(official_finetune):
    recorded = np.load(GOLDEN / "golden_finetune.npz")
    classifier = eat.load_classifier(official_finetune)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(recorded["source"]))
    assert np.allclose(logits.numpy(), recorded["logits"], atol=1e-5)
    assert classifier.labels == ["en", "fr", "ru"]
    assert classifier.activation == "softmax"  # trained with the released ESC-50 flag
    assert classifier.log_mel == eat.LogMel(-6.627, 5.359, 128)
    assert classifier.encoder.log_mel == eat.LogMel(-6.627, 5.359, None)
    assert not classifier.training


@pytest.fixture
def ours(official_finetune, tmp_path):
    """A fine-tuned checkpoint of ours, changed by a function that takes its content."""
    convert_checkpoint(official_finetune, tmp_path / "ours.pt", to="eat")

    def ours(change):
        state = released(tmp_path / "ours.pt")
        change(state)
        torch.save(state, tmp_path / "ours.pt")
        return tmp_path / "ours.pt"

    return ours


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", None])
@pytest.mark.parametrize("to", ["eat", "safetensors", "huggingface"])
def test_the_activation_goes_along(official_finetune, tmp_path, monkeypatch, to, activation):
    source = dataclasses.replace(load_checkpoint(official_finetune), activation=activation)
    monkeypatch.setattr("eat.checkpoint.loading.load_checkpoint", lambda path: source)
    convert_checkpoint(official_finetune, tmp_path / "out", to=to)
    assert eat.load_classifier(tmp_path / "out").activation == activation


def test_the_teacher_can_be_exported_as_the_encoder(official_pretrain, tmp_path):
    path, expected = tmp_path / "t.safetensors", load_checkpoint(official_pretrain)
    convert_checkpoint(official_pretrain, path, "safetensors", weights="teacher")
    parts = dict.fromkeys(("decoder", "teacher"))
    expected = dataclasses.replace(expected, encoder=expected.teacher, **parts)
    assert_same_weights(load_checkpoint(path), expected)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"t.safetensors: damaged"):
        eat.load_encoder(path)


@pytest.mark.parametrize("to", ["eat", "official", "safetensors"])
def test_no_path_and_no_optimizer_state_is_exported(official_finetune, to, tmp_path):
    state = released(official_finetune)
    state["cfg"]["task"]["data"] = "/home/someone/secret/data"
    state["cfg"]["common"]["user_dir"] = "/home/someone/secret/user_dir"
    torch.save(state, tmp_path / "in.pt")
    convert_checkpoint(tmp_path / "in.pt", tmp_path / "out", to=to)
    content = (tmp_path / "out").read_bytes()
    assert not any(word in content for word in (b"secret", b"/home", b"exp_avg"))


def test_nothing_is_overwritten(official_pretrain, tmp_path):
    out = tmp_path / "out.pt"
    out.write_text("precious")
    with pytest.raises(FileExistsError, match=r"out.pt: exists already \(--force"):
        convert_checkpoint(official_pretrain, out, to="eat")
    with pytest.raises(ValueError, match="to: found 'keras', expected one of eat, official"):
        convert_checkpoint(official_pretrain, out, to="keras", force=True)
    assert out.read_text() == "precious"
    convert_checkpoint(official_pretrain, out, to="eat", force=True)
    with pytest.raises(FileExistsError, match="exists already, and is the source: expected a new"):
        convert_checkpoint(out, out, to="official", force=True)
    assert load_checkpoint(out).kind == "pre-training"


def test_command(official_pretrain, tmp_path, capsys):
    out = str(tmp_path / "ours.pt")
    assert main(["convert", official_pretrain, out, "--to", "eat"]) == 0
    assert capsys.readouterr().out == f"{out}: eat layout, from {official_pretrain}\n"
    assert main(["convert", official_pretrain, out, "--to", "eat"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_licence_and_name_of_an_export(official_finetune, tmp_path, capsys):
    command = ["convert", official_finetune, str(tmp_path / "birds"), "--to", "huggingface"]
    options = ["--license", "cc-by-nc-4.0", "--name", "EAT of birds"]
    assert main([*command, *options]) == 0
    card = (tmp_path / "birds" / "README.md").read_text()
    assert "\nlicense: cc-by-nc-4.0\n" in card and "the weights under: cc-by-nc-4.0." in card
    assert "\n# EAT of birds\n" in card and "Fine-tuned to tell 3 classes" in card
    for options, message in (
        (["--license", "MIT License"], "license: found 'MIT License', expected one of the Hub"),
        (["--name", "EAT\n---"], "name: found 'EAT\\n---', expected one line of text"),
        (["--name", " "], "name: found ' '"),
        (
            ["--to", "eat", "--name", "x"],
            "name: found 'x' with to='eat', expected to='huggingface'",
        ),
    ):
        assert main([*command[:2], str(tmp_path / "no"), *command[3:], *options]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"depth": 10**9}, "depth=1000000000.* in its configuration, expected"),
        ({"mlp_ratio": 1e9}, r"mlp_ratio=1000000000\.0.* in its configuration, expected"),
        ({"num_heads": "4"}, "num_heads='4'.* in its configuration, expected"),
        (
            {"depth": 1024, "embed_dim": 1024, "num_heads": 1},
            "embed_dim=1024, depth=1024, .* expected sizes that fit its weights",
        ),
        ({"num_classes": 10**9}, "num_classes=1000000000.*that fit"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    ours, official_pretrain, tmp_path, changes, message
):
    path = ours(lambda state: state["cfg"]["model"].update(changes))
    with pytest.raises(CheckpointError, match=f"ours.pt: found .*{message}"):
        eat.load_classifier(path)
    if {*changes} <= {"depth", "mlp_ratio", "num_heads"}:  # the released layout has them too
        state = released(official_pretrain)
        state["cfg"]["model"].update(changes)
        torch.save(state, tmp_path / "in.pt")
        with pytest.raises(CheckpointError, match=f"in.pt: found .*{message}"):
            eat.load_encoder(tmp_path / "in.pt")


def test_what_cannot_be_is_named(ours, official_pretrain, tmp_path):
    message = "found a pre-training checkpoint without a classifier, expected a fine-tuned one"
    with pytest.raises(CheckpointError, match=message):
        eat.load_classifier(official_pretrain)
    with pytest.raises(CheckpointError, match="activation: found 'relu', expected one of"):
        eat.load_classifier(ours(lambda state: state["task_state"].update(activation="relu")))
    state = released(official_pretrain)
    del state["model"]["blocks.1.norm1.weight"]
    torch.save(state, tmp_path / "in.pt")
    with pytest.raises(CheckpointError, match="1 missing: blocks.1.norm1.weight"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", to="eat")
    config = EncoderConfig(embed_dim=16, depth=1, num_heads=2, num_mel_bins=64)
    save_encoder(config, tmp_path / "in.pt")
    with pytest.raises(CheckpointError, match="in.pt: found num_mel_bins 64, expected 128"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", to="official")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("mean, std", [(-1.5, 2.25), (-4.268, 4.569), (-6.846, 5.565)])
def test_the_official_layout_keeps_what_its_configuration_cannot_tell(
    ours, tmp_path, mean, std, activation
):
    def change(state):
        state["cfg"]["task"].update(mean=mean, std=std)
        state["task_state"]["activation"] = activation

    source = ours(change)
    convert_checkpoint(source, tmp_path / "out.pt", to="official")
    found, expected = load_checkpoint(tmp_path / "out.pt"), load_checkpoint(source)
    assert (found.log_mel, found.activation) == (expected.log_mel, expected.activation)
    assert (found.log_mel.mean, found.activation) == (mean, activation)


def test_classes_of_one_name_do_not_fit_the_official_layout(ours, tmp_path):
    source = ours(lambda state: state["task_state"].update(labels=["dog", "cat", "dog"]))
    with pytest.raises(CheckpointError, match="found several classes called 'dog', expected names"):
        convert_checkpoint(source, tmp_path / "out.pt", to="official")
    assert not (tmp_path / "out.pt").exists()
    convert_checkpoint(source, tmp_path / "out", to="huggingface")
    assert load_checkpoint(tmp_path / "out").labels == ["dog", "cat", "dog"]


@torch.no_grad()
def test_a_classifier_over_time_is_exported_where_it_fits(official_finetune, tmp_path):
    checkpoint = load_checkpoint(official_finetune)
    weights = {k: torch.cat([v, 2 * v]) for k, v in checkpoint.classifier.items() if "head" in k}
    weights["head.weight"] = weights["head.weight"].repeat(1, 8)
    time = dataclasses.replace(checkpoint.classifier_config, pooling="time", steps_per_row=2)
    ours = dataclasses.replace(
        checkpoint, classifier={**checkpoint.classifier, **weights}, classifier_config=time
    )
    native.write(ours, str(tmp_path / "ours.pt"))
    classifier = eat.load_classifier(tmp_path / "ours.pt")
    source = torch.randn(2, 1, 32, 128, generator=torch.manual_seed(0))
    expected = classifier(source)
    assert (expected.shape, classifier.step_seconds) == ((2, 4, 3), 0.08)
    for to, path in (("eat", tmp_path / "x.pt"), ("safetensors", tmp_path / "x.safetensors")):
        convert_checkpoint(tmp_path / "ours.pt", path, to=to)
        assert torch.equal(eat.load_classifier(path)(source), expected)
    for to in ("official", "huggingface"):
        found = "found a head that scores steps of time, expected one as in the released code"
        with pytest.raises(CheckpointError, match=f"ours.pt: {found}"):
            convert_checkpoint(tmp_path / "ours.pt", tmp_path / to, to=to)
        assert not (tmp_path / to).exists()
