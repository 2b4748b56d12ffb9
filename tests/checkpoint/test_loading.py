import dataclasses
import os
import pickle
import re

import pytest
import torch

import eat
from eat.checkpoint import CheckpointError, load_checkpoint
from eat.checkpoint.checkpoint import to_our_names, to_their_names
from eat.nn import Classifier, ClassifierConfig, DecoderConfig, Encoder, EncoderConfig
from eat.nn.masking import MaskingConfig
from eat.nn.teacher import TeacherConfig

IMAGE = "modality_encoders.IMAGE."


@pytest.fixture
def released(official_pretrain):
    """The released checkpoint as a dict to be damaged."""
    return torch.load(official_pretrain, weights_only=True)


@pytest.fixture
def saved(tmp_path):
    def save(state):
        torch.save(state, tmp_path / "checkpoint.pt")
        return tmp_path / "checkpoint.pt"

    return save


def test_settings_of_the_released_checkpoint(official_pretrain):
    checkpoint = load_checkpoint(official_pretrain)
    assert checkpoint.encoder_config == EncoderConfig(embed_dim=48, depth=3, num_heads=4)
    assert checkpoint.decoder_config == DecoderConfig(decoder_depth=2, decoder_groups=4)
    assert checkpoint.teacher_config == TeacherConfig(average_top_k_layers=3)
    assert checkpoint.masking_config == MaskingConfig(num_clones=4, mask_block_size=3)
    assert checkpoint.kind == "pre-training"


def test_student_and_teacher_are_different(official_pretrain, released):
    teacher = eat.load_encoder(official_pretrain, weights="teacher")
    student = eat.load_encoder(official_pretrain)
    key = "blocks.1.mlp.fc1.weight"
    assert torch.equal(teacher.get_parameter(key), released["model"]["_ema"][key])
    assert torch.equal(student.get_parameter(key), released["model"][key])
    assert not torch.equal(teacher.get_parameter(key), student.get_parameter(key))
    assert not student.training
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    half = eat.load_encoder(official_pretrain, dtype=torch.bfloat16)
    assert half.cls_token.dtype == torch.bfloat16


def test_old_position_tables_of_64_rows(released, saved, golden):
    key = f"{IMAGE}fixed_positional_encoder.positions"
    for model in (released["model"], released["model"]["_ema"]):
        model[key] = model[key][:, :512]
    encoder = eat.load_encoder(saved(released))
    assert encoder.config.num_position_rows == 64
    with torch.no_grad():
        assert torch.allclose(encoder(golden("source")), golden("features_128"), atol=1e-5)


def test_class_defaults_fill_in_what_the_configuration_leaves_out(released, saved):
    for key in ("mlp_ratio", "norm_eps", "ema_decay"):
        del released["cfg"]["model"][key]
    config = load_checkpoint(saved(released)).encoder_config
    assert (config.mlp_ratio, config.norm_eps) == (4.0, 1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"blocks.1.norm1.weight": None, f"{IMAGE}extra_tokens": None},
         r"does not match: 2 missing: blocks.1.norm1.weight, cls_token$"),
        ({"blocks.7.norm1.weight": torch.zeros(48)}, "1 unexpected: blocks.7.norm1.weight"),
        ({"something.else": torch.zeros(1)}, "unexpected keys: something.else"),
        ({"blocks.0.attn.qkv.bias": torch.zeros(7)},
         r"blocks.0.attn.qkv.bias \(found \(7,\), expected \(144,\)\)"),
        ({"blocks.1.norm1.weight": torch.full((48,), float("nan"))},
         r"does not match: 1 with NaN or infinite values: blocks.1.norm1.weight$"),
        ({"blocks.1.norm1.weight": torch.tensor([1.0] * 47 + [float("inf")])},
         r"does not match: 1 with NaN or infinite values: blocks.1.norm1.weight$"),
    ],
)  # fmt: skip
def test_weights_that_do_not_match_are_listed(released, saved, changes, message):
    weights = {**released["model"], **changes}
    released["model"] = {key: value for key, value in weights.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        eat.load_encoder(saved(released))


def test_foreign_files_and_what_is_not_there(released, saved, official_finetune, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint: .*nothing.pt"):
        eat.load_encoder(tmp_path / "nothing.pt")
    with pytest.raises(ValueError, match='weights: found \'ema\', expected "student" or "teacher"'):
        eat.load_encoder(official_finetune, weights="ema")
    with pytest.raises(CheckpointError, match="found no teacher in this fine-tuned checkpoint"):
        eat.load_encoder(official_finetune, weights="teacher")
    del released["model"]["_ema"]
    with pytest.raises(CheckpointError, match="found no teacher in this pre-training checkpoint"):
        eat.load_encoder(saved(released), weights="teacher")
    released["cfg"]["model"]["layer_norm_first"] = True
    for state, message in (
        (released, "layer_norm_first=True, expected False"),
        ({"weight": torch.zeros(1)}, r"found no EAT checkpoint \(top-level keys: weight\)"),
        (torch.zeros(3), "found a Tensor, expected a checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=message):
            eat.load_encoder(saved(state))


@pytest.mark.parametrize("kept", [0, 10, 1000, 500_000])
def test_truncated_files(official_pretrain, tmp_path, kept):
    with open(official_pretrain, "rb") as file:
        (tmp_path / "part.pt").write_bytes(file.read(kept))
    with pytest.raises(CheckpointError, match=r"part.pt: (damaged|refused)"):
        eat.load_encoder(tmp_path / "part.pt")


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "a git-lfs pointer.*lfs pull",
        ),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        ("# Weights\n\nPrêts.".encode(), "a text file"),
        (b"RIFF\0\0\0\0WAVEfmt \0\1\2", "an audio file"),
    ],
)
def test_other_files_in_place_of_a_checkpoint(tmp_path, content, message):
    (tmp_path / "eat.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"eat.pt: found {message}"):
        eat.load_encoder(tmp_path / "eat.pt")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("writer", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, writer):
    writer({"model": Payload(str(tmp_path / "executed"))}, tmp_path / "evil.pt")
    message = r"evil.pt: refused: .* values(: it would call \w+.mkdir|, or damaged)$"
    with pytest.raises(CheckpointError, match=message) as error:
        eat.load_encoder(tmp_path / "evil.pt")
    assert "weights_only" not in str(error.value)  # torch's advice is to run the code
    assert not (tmp_path / "executed").exists()


def test_the_front_end_has_the_mel_bins_and_patches_of_the_encoder(saved):
    """A fine-tuned checkpoint says the size of its encoder in cfg.model alone."""
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "num_mel_bins": 64, "patch_size": 8}
    config = EncoderConfig(**sizes, num_position_rows=4)
    classifier = Classifier(ClassifierConfig(num_classes=2), Encoder(config))
    cfg = {
        "model": {"_name": "eat_classifier", **dataclasses.asdict(config)},
        "task": {"mean": -4.0, "std": 3.0, "target_length": 24},
    }
    loaded = eat.load_classifier(saved({"cfg": cfg, "model": classifier.state_dict()}))
    assert loaded.log_mel == eat.LogMel(-4.0, 3.0, 24, num_mel_bins=64, patch_size=8)
    assert loaded(loaded.log_mel(torch.zeros(8000))).shape == (1, 2)
    assert (loaded.labels, loaded.activation) == (None, None)


@pytest.mark.parametrize(
    "labels, message",
    [
        (0.5, "damaged: AttributeError: 'float' object has no"),
        ({"dog": "../.."}, "damaged: ValueError: invalid literal for"),
        ({"dog": [0]}, "damaged: TypeError: int() argument must be"),
    ],
)
def test_values_of_unexpected_kinds_are_named(official_finetune, saved, labels, message):
    """Found by mutating checkpoints."""
    state = torch.load(official_finetune, weights_only=True)
    state["task_state"] = {"labels": labels}
    path = saved(state)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: {message}")):
        eat.load_classifier(path)


@pytest.mark.parametrize(
    "part, value, message",
    [
        ("task_state", 7, "damaged: AttributeError: 'int' object has no attribute 'get'"),
        ("model", {"encoder.cls_token": [1]},
         "found a list under 'encoder.cls_token', expected a tensor"),
        ("model", {None: torch.zeros(1)}, "damaged: AttributeError: 'NoneType' object has no"),
        ("cfg", {"model": {"_name": "eat"}, "task": {"mean": 0, "std": [], "target_length": 16}},
         "damaged: TypeError: '<' not supported between instances of 'int' and 'list'"),
    ],
)  # fmt: skip
def test_values_of_unexpected_kinds_in_our_layout_are_named(saved, part, value, message):
    state = {"cfg": {"model": {"_name": "eat"}}, "model": {}, "task_state": {}, part: value}
    path = saved(state)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: {message}")):
        load_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_weights_of_any_floating_type(released, saved, dtype):
    key = "blocks.1.norm1.weight"
    released["model"][key] = released["model"][key].to(dtype)
    encoder = eat.load_encoder(saved(released))
    assert torch.equal(encoder.get_parameter(key), released["model"][key].float())


def test_names_and_the_shape_of_the_position_table():
    first, second = {"their.table": "positions", "their.blocks.": "blocks."}, {"their.head.": ""}
    theirs = {
        "their.table": torch.arange(12.0).view(1, 6, 2),
        "their.head.bias": torch.zeros(1),
        "their.blocks.0.weight": torch.ones(2),
    }
    ours, head = to_our_names(theirs, first, second)
    shapes = {name: tuple(value.shape) for name, value in ours.items()}
    assert shapes == {"positions": (6, 2), "blocks.0.weight": (2,)}
    assert list(head) == ["bias"]
    back = to_their_names(dict(reversed(ours.items())), first)
    assert list(back) == ["their.table", "their.blocks.0.weight"]
    assert torch.equal(back["their.table"], theirs["their.table"])
    with pytest.raises(CheckpointError, match="found unexpected keys: their.head.bias"):
        to_our_names(theirs, first)
    with pytest.raises(CheckpointError, match=r"found a str under 'their.blocks.1', expected a te"):
        to_our_names({"their.blocks.1": "no tensor"}, first)


def test_no_weights_are_drawn_that_the_file_replaces(monkeypatch, official_pretrain):
    def draw(*args, **kwargs):
        raise AssertionError("drew random weights")

    monkeypatch.setattr(torch.Tensor, "normal_", draw)
    assert eat.load_encoder(official_pretrain).blocks[0].mlp.fc1.weight.std() > 0
