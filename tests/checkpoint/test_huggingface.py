import ast
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from environments.target import run_with
from helpers import GOLDEN, REPOSITORY
from safetensors.torch import load_file, save_file

import eat
from eat.audio import LogMel
from eat.checkpoint import CheckpointError, huggingface, load_checkpoint
from eat.checkpoint.building import build_classifier, build_encoder
from eat.checkpoint.huggingface import model_code
from eat.nn.transformer import attention_weights


@pytest.fixture
def pretrained(official_pretrain):
    """The released checkpoint with a position table of 64 rows, so that clips soon exceed it."""
    checkpoint = load_checkpoint(official_pretrain)
    return dataclasses.replace(
        checkpoint,
        encoder={**checkpoint.encoder, "positions": checkpoint.encoder["positions"][:512]},
        encoder_config=dataclasses.replace(checkpoint.encoder_config, num_position_rows=64),
    )


@pytest.fixture
def finetuned(official_finetune):
    return load_checkpoint(official_finetune)


@pytest.fixture
def folder(finetuned, tmp_path):
    """An exported folder, to be damaged."""
    huggingface.write(finetuned, str(tmp_path / "folder"))
    return tmp_path / "folder"


def edit_config(folder, **changes):
    """Change settings of config.json; None removes one."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))


def edit_weights(folder, **changes):
    """Change tensors, names without `model.` and with `__` for dots; None removes one."""
    tensors = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        tensors["model." + name.replace("__", ".")] = value
    tensors = {key: value for key, value in tensors.items() if value is not None}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def assert_same(found, expected):
    for part in ("encoder", "classifier"):
        first, second = getattr(found, part) or {}, getattr(expected, part) or {}
        assert first.keys() == second.keys()
        for key, value in second.items():
            assert first[key].dtype == value.dtype, key
            assert torch.equal(first[key], value), key
    for part in ("kind", "encoder_config", "classifier_config", "labels", "activation", "log_mel"):
        assert getattr(found, part) == getattr(expected, part)


@pytest.mark.parametrize("name", ["official_pretrain.pt", "official_finetune.pt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_there_and_back_is_exact(name, dtype, tmp_path):
    checkpoint = load_checkpoint(GOLDEN / name)
    checkpoint.encoder = {key: value.to(dtype) for key, value in checkpoint.encoder.items()}
    huggingface.write(checkpoint, str(tmp_path / "folder"))
    assert_same(load_checkpoint(tmp_path / "folder"), checkpoint)
    (tmp_path / "folder" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    assert_same(load_checkpoint(tmp_path / "alone.safetensors"), checkpoint)


def test_what_the_source_does_not_say_stays_unsaid(finetuned, pretrained, tmp_path):
    for index, checkpoint in enumerate((finetuned, pretrained)):
        path = str(tmp_path / str(index))
        checkpoint = dataclasses.replace(checkpoint, labels=None, activation=None, log_mel=None)
        huggingface.write(checkpoint, path)
        assert_same(load_checkpoint(path), checkpoint)
    preprocessor = json.loads((tmp_path / "0" / "preprocessor_config.json").read_text())
    assert (preprocessor["mean"], preprocessor["std"]) == (-4.268, 4.569)
    assert preprocessor["target_length"] == 1024


def test_settings_that_the_folder_says(finetuned, folder):
    config = json.loads((folder / "config.json").read_text())
    expected = {
        **{"model_type": "eat", "architectures": ["EatForAudioClassification"]},
        **{"embed_dim": 48, "depth": 3, "num_heads": 4, "mlp_ratio": 4.0, "norm_eps": 1e-6},
        **{"patch_size": 16, "stride": 16, "in_chans": 1, "mel_bins": 128, "max_length": 768},
        **{"qkv_bias": True, "layer_norm_first": False, "norm_affine": True},
        **{"fixed_positions": True, "img_size": [128, 128], "torch_dtype": "float32"},
        **{"norm_mean": -6.627, "norm_std": 5.359, "target_length": 128},
        **{"model_variant": "finetune", "num_classes": 3, "pooling": "cls"},
        "id2label": {"0": "en", "1": "fr", "2": "ru"},
        "label2id": {"en": 0, "fr": 1, "ru": 2},
    }
    assert expected.items() <= config.items()
    classes = {value.partition(".")[2] for value in config["auto_map"].values()}
    defined = {n.name for n in ast.parse(model_code()).body if isinstance(n, ast.ClassDef)}
    assert classes <= defined
    names = set(load_file(folder / "model.safetensors"))
    assert {"model.extra_tokens", "model.blocks.2.mlp.fc2.bias", "model.head.weight"} <= names
    assert len(names) == len(finetuned.encoder) + len(finetuned.classifier)


def as_published(folder):
    """Leave out our additions to config.json, our metadata and code, as published folders do."""
    ours = ("norm_mean", "norm_std", "target_length", "pooling", "id2label", "label2id")
    auto_map = {"AutoConfig": "configuration_eat.EATConfig", "AutoModel": "eat_model.EATModel"}
    others = {"auto_map": auto_map, "drop_rate": 0.0, "start_drop_path_rate": 0.0}
    edit_config(folder, **dict.fromkeys(ours), **others)
    edit_weights(folder)
    (folder / "modeling_eat.py").unlink()
    (folder / "eat_model.py").write_text("import timm")


def test_published_folders(golden, official_finetune, folder):
    as_published(folder)
    classifier, expected = eat.load_classifier(folder), eat.load_classifier(official_finetune)
    assert classifier.labels is None
    with torch.no_grad():
        assert torch.equal(classifier(golden("source")), expected(golden("source")))
    encoder, expected = eat.load_encoder(folder / "model.safetensors"), expected.encoder
    assert encoder.config == expected.config
    for key, value in expected.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value)


@pytest.mark.parametrize("size, num_heads", [((768, 12), 12), ((1024, 24), 16)])
def test_published_sizes_are_known(size, num_heads, tmp_path):
    embed_dim, depth = size
    tensors = {f"model.blocks.{i}.norm1.bias": torch.zeros(embed_dim) for i in range(depth)}
    tensors["model.extra_tokens"] = torch.zeros(1, 1, embed_dim)
    save_file(tensors, tmp_path / "weights.safetensors")
    config = load_checkpoint(tmp_path / "weights.safetensors").encoder_config
    assert (config.embed_dim, config.depth, config.num_heads) == (embed_dim, depth, num_heads)


def test_other_sizes_need_a_configuration(folder):
    edit_weights(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"width 48 and depth 3 that do not tell"):
        load_checkpoint(folder / "model.safetensors")
    edit_weights(folder, extra_tokens=None)
    with pytest.raises(CheckpointError, match=r"width 0 and depth 3 that do not tell"):
        load_checkpoint(folder / "model.safetensors")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"layer_norm_first": True}, "found layer_norm_first=True .*expected False"),
        ({"model_type": "bert"}, "found model_type='bert' .*expected 'eat'"),
        ({"model_type": None}, "found model_type=None"),
        ({"stride": 10}, "found stride=10 .*expected 16"),
        ({"model_variant": "pretrain"}, "found model_variant='pretrain' .*expected 'finetune'"),
        ({"patch_size": 0, "stride": 0}, "found patch_size=0 .*expected a number above 0"),
        ({"embed_dim": "48"}, "found embed_dim='48' .*expected a number above 0"),
        ({"depth": 3.0}, "found depth=3.0"),
        ({"num_heads": True}, "found num_heads=True"),
        ({"mel_bins": 8}, "num_mel_bins: found 8, expected a multiple of patch_size 16"),
        ({"num_classes": 4}, "labels: found 3, expected num_classes 4"),
        ({"num_classes": 4, "id2label": None}, r"head.bias \(found \(3,\), expected \(4,\)\)"),
        ({"pooling": "max"}, "pooling: found 'max'"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label: found indices that skip or repeat some"),
        ({"id2label": {"0": "a"}}, "labels: found 1, expected num_classes 3"),
        ({"norm_std": -1.0}, "std: found -1.0"),
        ({"norm_std": "x"}, "folder: .*str"),
    ],
)
def test_settings_that_are_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        eat.load_classifier(folder)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"extra_tokens": None}, "1 missing: encoder.cls_token"),
        ({"fixed_positional_encoder__positions": None}, "1 missing: encoder.positions"),
        ({"head__bias": None}, "1 missing: head.bias"),
        ({"decoder__proj__bias": torch.zeros(1)}, "unexpected keys: model.decoder.proj.bias"),
        ({"blocks__3__norm1__bias": torch.zeros(48)}, "1 unexpected: encoder.blocks.3.norm1.bias"),
        ({"pre_norm__bias": torch.zeros(7)}, r"pre_norm.bias \(found \(7,\), expected \(48,\)\)"),
    ],
)
def test_weights_that_are_refused(folder, changes, message):
    edit_weights(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        eat.load_classifier(folder)


def test_classes_that_transformers_saved(folder):
    """It writes names for classes that have none, and not their number."""
    names = {str(index): f"LABEL_{index}" for index in range(3)}
    edit_config(folder, num_classes=None, id2label=names)
    classifier = eat.load_classifier(folder)
    assert classifier.labels is None
    assert classifier.config.num_classes == 3
    edit_weights(folder, head__bias=None)
    with pytest.raises(CheckpointError, match="num_classes: found 0"):
        eat.load_classifier(folder)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("config.json", lambda f: f.write_bytes(f.read_bytes()[:100]),
         "config.json: damaged configuration"),
        ("config.json", lambda f: f.write_text("[]"),
         "config.json: found a configuration that is no object"),
        ("config.json", lambda f: f.unlink(), "folder: found no config.json, expected one"),
        ("model.safetensors", lambda f: f.write_bytes(f.read_bytes()[:1000]),
         "model.safetensors: damaged"),
        ("model.safetensors", lambda f: f.rename(f.with_name("model-00001-of-00002.safetensors")),
         r"found a folder without model.safetensors \(but: model-00001-of-"),
    ],
)  # fmt: skip
def test_damaged_folders(folder, name, change, message):
    change(folder / name)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_the_folder_of_a_training_is_answered_with_its_files(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "checkpoint_last.pt").touch()
    for folder, found in ((tmp_path, r" \(but: checkpoint_last.pt\)"), (tmp_path / "empty", "")):
        message = f"found a folder without model.safetensors{found}, expected .* path of a .pt file"
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(folder)


def test_a_folder_with_a_configuration_is_complete(finetuned, folder, monkeypatch):
    """Written over, and interrupted: the old configuration must not speak for new weights."""
    monkeypatch.setattr(huggingface, "model_code", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        huggingface.write(finetuned, str(folder))
    assert (folder / "config.json").exists()  # nothing was touched yet
    monkeypatch.undo()

    def fail(path, content):
        if path.endswith("README.md"):
            raise OSError("disk full")
        write_file(path, content)

    write_file = huggingface.write_file
    monkeypatch.setattr(huggingface, "write_file", fail)
    with pytest.raises(OSError, match="disk full"):
        huggingface.write(finetuned, str(folder))
    assert not (folder / "config.json").exists()
    monkeypatch.undo()
    huggingface.write(finetuned, str(folder))
    assert_same(load_checkpoint(folder), finetuned)


def test_no_path_of_this_machine_is_exported(folder):
    names = ["README.md", "config.json", "model.safetensors", "modeling_eat.py"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "preprocessor_config.json"]
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in (folder.parent, REPOSITORY, sys.prefix):
            assert str(place).encode() not in content, (path, place)


def test_the_card_says_what_the_model_is(folder, pretrained, tmp_path):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\nlicense: unknown\n")
    assert "pipeline_tag: audio-classification" in card
    assert "# EAT, fine-tuned for 3 classes" in card
    assert "| width, blocks, heads | 48, 3, 4 |" in card
    assert "| parameters | 0.10 million |" in card
    assert "(x - (-6.627)) / (2 * 5.359)" in card
    huggingface.write(pretrained, str(tmp_path / "other"))
    card = (tmp_path / "other" / "README.md").read_text()
    assert "pipeline_tag" not in card  # that pipeline takes texts
    assert "# EAT, pre-trained" in card
    assert "AutoModelForAudioClassification" not in card
    assert "title   = {{EAT}: Self-Supervised" in card
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    assert config["model_variant"] == "pretrain"
    assert config["auto_map"]["AutoModel"] == "modeling_eat.EatModel"
    assert not config.keys() & {"num_classes", "pooling", "id2label"}
    assert config["max_length"] == 64


def test_the_code_stands_alone(tmp_path):
    code = model_code()
    tree = ast.parse(code)
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "eat").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    expected = "dataclasses functools logging math numpy torch transformers typing warnings"
    assert imported == set(expected.split())
    names = [n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    assert len(names) == len(set(names))
    assert "def attend" in code and "def gelu_linear" in code  # plain formulas, and only these:
    assert not re.search(r"by_hand|torch\._|torch\.ops|autograd|once_differentiable", code)
    (tmp_path / "modeling_eat.py").write_text(code)
    # The parts repeat each other's imports (F811).
    rules = ("--isolated", "--select", "F", "--ignore", "F811")
    command = [sys.executable, "-m", "ruff", "check", *rules, str(tmp_path)]
    check = subprocess.run(command, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout  # above all no name that is not defined


def with_pooling(checkpoint, pooling):
    config = dataclasses.replace(checkpoint.classifier_config, pooling=pooling)
    return dataclasses.replace(checkpoint, classifier_config=config)


@torch.no_grad()
def encoder_values(golden, checkpoint, clips):
    """What tests/environments/check_huggingface.py expects of the pre-trained folder."""
    encoder = build_encoder(checkpoint).eval()
    values = {"source_beyond": torch.randn(1, 1, 1040, 128)}
    values["features_beyond"] = encoder(values["source_beyond"])
    for length in (64, 128, 256):
        values[f"source_{length}"] = golden("source" if length == 128 else f"source_{length}")
        values[f"features_{length}"] = golden(f"features_{length}")
    for index, clip in enumerate(clips):
        frames = torch.tensor([max(1, LogMel().num_frames(len(clip)))])
        values[f"clip_{index}"] = clip
        values[f"clip_features_{index}"] = encoder(encoder.log_mel(clip), lengths=frames)[0]
    return values


@torch.no_grad()
def classifier_values(checkpoint, clips):
    recorded = np.load(GOLDEN / "golden_finetune.npz")
    source = torch.from_numpy(recorded["source"])
    lengths = torch.tensor([60, 128])
    classifier = build_classifier(checkpoint).eval()
    mean = build_classifier(with_pooling(checkpoint, "mean")).eval()
    input_values = torch.cat([checkpoint.log_mel(clip) for clip in clips])
    attentions = []
    for block in classifier.encoder.blocks:
        block.attn.qkv.register_forward_hook(
            lambda module, args, qkv: attentions.append(attention_weights(qkv, 4))
        )
    classifier(source)
    for block in classifier.encoder.blocks:
        block.attn.qkv._forward_hooks.clear()
    return {
        "source": source,
        "logits": torch.from_numpy(recorded["logits"]),
        "features": classifier.encoder(source),
        "input_values": input_values,
        "clip_logits": classifier(input_values),
        "mask": (torch.arange(128) < lengths[:, None]).long(),
        "mean_logits": mean(source),
        "masked_mean_logits": mean(source, lengths),
        "masked_logits": classifier(source, lengths),
        "attentions": torch.stack(attentions),
    }


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.51", "4.57", "5"])
def test_folders_work_with_transformers(version, golden, pretrained, finetuned, tmp_path):
    torch.manual_seed(0)
    clips = [0.1 * torch.randn(num_samples) for num_samples in (16_000, 350, 40_000)]
    values = {**encoder_values(golden, pretrained, clips), **classifier_values(finetuned, clips)}
    huggingface.write(pretrained, str(tmp_path / "pretrain"))
    huggingface.write(finetuned, str(tmp_path / "finetune"))
    log_mel = dataclasses.replace(pretrained.front_end(), sample_rate_hz=32_000, high_hz=14_000.0)
    huggingface.write(dataclasses.replace(pretrained, log_mel=log_mel), str(tmp_path / "wide"))
    values["wide_input"] = log_mel(clips[2])
    huggingface.write(finetuned, str(tmp_path / "published"))
    as_published(tmp_path / "published")
    np.savez(tmp_path / "expected.npz", **{key: value.numpy() for key, value in values.items()})
    eat.convert_checkpoint(tmp_path / "published", tmp_path / "converted", to="huggingface")
    # transformers 4 does not find a second file of code where a folder's name has a dot.
    huggingface.write(with_pooling(finetuned, "mean"), str(tmp_path / "finetune mean.v2"))
    arguments = (f"transformers-{version}.txt", "check_huggingface.py", tmp_path, str(tmp_path))
    blocked = ("eat", "fairseq", "timm", "torchaudio", "torchvision")
    output = run_with(*arguments, blocked=blocked)
    assert f"transformers {version}." in output
    saved = eat.load_classifier(tmp_path / "saved by transformers")
    assert saved.config.num_classes == 400
