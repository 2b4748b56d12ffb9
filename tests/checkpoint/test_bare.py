"""Every layout in which EAT-type weights are published, made from the recorded checkpoints."""

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

import eat
from eat.checkpoint import CheckpointError, Source, huggingface, load_checkpoint, official

IMAGE = "modality_encoders.IMAGE."
AVES = (-5.553, 4.606)
HEADS = {"num_heads": 4}


def released(path):
    return torch.load(path, weights_only=True)["model"]


@pytest.fixture
def pretrained(official_pretrain):
    return released(official_pretrain)


@pytest.fixture
def finetuned(official_finetune):
    return released(official_finetune)


def flat(model):
    """A `.safetensors` file holds no dictionary below another."""
    tensors = {key: value for key, value in model.items() if key != "_ema"}
    teacher = {f"_ema.{key}": value for key, value in model["_ema"].items()}
    return {key: value.clone() for key, value in {**tensors, **teacher}.items()}


def only_encoder(model):
    return {k: v for k, v in model.items() if k != "_ema" and not k.startswith(f"{IMAGE}decoder.")}


def under_hub_names(model, prefix=""):
    """The encoder of a released `model` under the names of the Hugging Face layout."""
    names = dict(zip(official.ENCODER_KEYS, huggingface.ENCODER_KEYS, strict=True))
    renamed = {}
    for key, value in only_encoder(model).items():
        theirs = next(name for name in names if key.startswith(name))
        renamed[prefix + names[theirs] + key[len(theirs) :]] = value
    return renamed


def supervised(pretrained, num_classes=3):
    """ESP-AVES2's `sl-eat-*`: the backbone, and a linear head on CLS without a norm."""
    generator = torch.Generator().manual_seed(0)
    head = {
        "classifier.weight": torch.randn(num_classes, 48, generator=generator),
        "classifier.bias": torch.randn(num_classes, generator=generator),
    }
    return {**under_hub_names(pretrained, "backbone."), **head}


LAYOUTS = {
    "model.pt": lambda m, path: torch.save(m, path),
    "in a place.pt": lambda m, path: torch.save({"model": m, "epoch": 3}, path),
    "state_dict.bin": lambda m, path: torch.save({"state_dict": only_encoder(m)}, path),
    "all.safetensors": lambda m, path: save_file(flat(m), path),
    "encoder.safetensors": lambda m, path: save_file(only_encoder(m), path),
    "hub.safetensors": lambda m, path: save_file(under_hub_names(m), path),
    "pytorch_model.bin": lambda m, path: torch.save(under_hub_names(m), path),
    "sl.safetensors": lambda m, path: save_file(supervised(m), path),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_outputs_of_the_released_one(
    name, pretrained, official_pretrain, golden, tmp_path
):
    LAYOUTS[name](pretrained, tmp_path / name)
    encoder = eat.load_encoder(tmp_path / name, **HEADS)
    expected = eat.load_encoder(official_pretrain)
    assert encoder.config == expected.config
    with torch.no_grad():
        assert torch.equal(encoder(golden("source")), expected(golden("source")))


@pytest.mark.parametrize("name", ["model.pt", "all.safetensors"])
def test_decoder_and_teacher_come_along(name, pretrained, official_pretrain, tmp_path):
    LAYOUTS[name](pretrained, tmp_path / name)
    found = load_checkpoint(Source(str(tmp_path / name), **HEADS))
    expected = load_checkpoint(official_pretrain)
    for part in ("decoder", "teacher"):
        first, second = getattr(found, part), getattr(expected, part)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in second)
    assert found.decoder_config == expected.decoder_config
    assert found.teacher_config.average_top_k_layers == 3


def test_fine_tuned_weights_alone(finetuned, official_finetune, golden, tmp_path):
    save_file(finetuned, tmp_path / "ft.safetensors")
    classifier = eat.load_classifier(tmp_path / "ft.safetensors", labels=list("abc"), **HEADS)
    assert classifier.labels == ["a", "b", "c"]
    with torch.no_grad():
        expected = eat.load_classifier(official_finetune)(golden("source"))
        assert torch.equal(classifier(golden("source")), expected)


def test_the_linear_head_of_esp_aves2(pretrained, golden, tmp_path):
    """Its folder as published: weights of its own name, a map of labels, no config.json."""
    folder = tmp_path / "esp-aves2-sl-eat-all-ssl-all"
    folder.mkdir()
    tensors = supervised(pretrained)
    save_file(tensors, folder / "esp-aves2-sl-eat-all-ssl-all.safetensors")
    (folder / "label_map.json").write_text(json.dumps({"wren": 1, "owl": 0, "bat": 2}))
    classifier = eat.load_classifier(folder, **HEADS)
    assert classifier.labels == ["owl", "wren", "bat"]
    assert (classifier.log_mel.mean, classifier.log_mel.std) == AVES
    assert classifier.log_mel.target_length == 1024
    with torch.no_grad():
        tokens = classifier.encoder(golden("source"))
        expected = torch.nn.functional.linear(
            tokens[:, 0], tensors["classifier.weight"], tensors["classifier.bias"]
        )
        assert torch.equal(classifier(golden("source")), expected)
    eat.convert_checkpoint(folder, tmp_path / "ours.pt", to="eat", **HEADS)
    back = eat.load_classifier(tmp_path / "ours.pt")  # which tells everything
    assert (back.labels, back.log_mel) == (classifier.labels, classifier.log_mel)
    with torch.no_grad():
        assert torch.equal(back(golden("source")), expected)
    for to in ("huggingface", "official"):
        with pytest.raises(CheckpointError, match="found a head without a norm before it"):
            eat.convert_checkpoint(folder, tmp_path / to, to=to, **HEADS)


@pytest.mark.parametrize(
    "name, constants",
    [
        ("esp-aves2-eat-bio.safetensors", AVES),
        ("SSLAM_pretrain.pt", (-4.268, 4.569)),
        ("mine.safetensors", None),
    ],
)
def test_constants_of_the_published_name(name, constants, pretrained, tmp_path, caplog):
    save_file(only_encoder(pretrained), tmp_path / name)
    encoder = eat.load_encoder(tmp_path / name, **HEADS)
    assert (encoder.log_mel.mean, encoder.log_mel.std) == (constants or (-4.268, 4.569))
    assumed = [r.getMessage() for r in caplog.records if "tells neither mean" in r.getMessage()]
    assert len(assumed) == (constants is None)
    if assumed:
        assert "AudioSet's are taken, -4.268 and 4.569" in assumed[0]
        assert "--mean and --std" in assumed[0]


def test_constants_that_are_stated(pretrained, official_pretrain, tmp_path, caplog):
    save_file(only_encoder(pretrained), tmp_path / "mine.safetensors")
    encoder = eat.load_encoder(tmp_path / "mine.safetensors", mean=-7.0, std=3.0, **HEADS)
    assert encoder.log_mel == eat.LogMel(-7.0, 3.0, None)
    assert not caplog.records
    assert eat.load_encoder(official_pretrain, mean=-7.0).log_mel == eat.LogMel(-7.0, 4.569, None)
    with pytest.raises(ValueError, match="mine.safetensors: found only one of mean and std"):
        eat.load_encoder(tmp_path / "mine.safetensors", mean=-7.0, **HEADS)
    config = {"num_heads": 4, "norm_mean": -5.0, "norm_std": 2.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert eat.load_encoder(tmp_path / "mine.safetensors").log_mel == eat.LogMel(-5.0, 2.0, None)


def test_the_number_of_heads_is_stated_or_asked_for(pretrained, tmp_path, official_pretrain):
    save_file(only_encoder(pretrained), tmp_path / "mine.safetensors")
    message = (
        "width 48 and depth 3 that do not tell the number of heads, expected num_heads=.*--num"
    )
    with pytest.raises(CheckpointError, match=message):
        eat.load_encoder(tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match="found num_heads 4, not 6 as given"):
        eat.load_encoder(official_pretrain, num_heads=6)


@pytest.mark.parametrize("width, heads", [(768, 12), (1024, 16)])
def test_the_heads_of_published_sizes_are_said(width, heads, tmp_path, caplog):
    config = eat.EncoderConfig(width, depth=1, num_heads=heads, num_position_rows=4)
    ours = eat.Encoder(config).state_dict()
    names = {ours: theirs for theirs, ours in official.ENCODER_KEYS.items()}
    model = {
        names[prefix] + key[len(prefix) :]: value
        for key, value in ours.items()
        for prefix in names
        if key.startswith(prefix)
    }
    save_file(model, tmp_path / "EAT-large_epoch20_mine.safetensors")
    with caplog.at_level(logging.WARNING):
        encoder = eat.load_encoder(tmp_path / "EAT-large_epoch20_mine.safetensors")
    assert encoder.config == config
    (record,) = caplog.records
    assert f"{heads} is taken, that of the published models of width {width}" in record.getMessage()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"blocks.1.norm1.weight": None}, "does not match: 1 missing: blocks.1.norm1.weight$"),
        ({"something.else": torch.zeros(1)}, "found unexpected keys: something.else$"),
        ({f"{IMAGE}extra_tokens": None, f"{IMAGE}cls": torch.zeros(1)},
         rf"found unexpected keys: {IMAGE}cls; missing: {IMAGE}extra_tokens$"),
        ({"blocks.1.norm1.weight": torch.zeros(7)}, r"found \(7,\), expected \(48,\)"),
        ({f"{IMAGE}local_encoder.proj.weight": torch.zeros(48)}, r"proj.weight \(found \(48,\)"),
        ({f"{IMAGE}decoder.blocks.0.0.weight": torch.zeros(48)}, None),  # not of the encoder
    ],
)  # fmt: skip
def test_weights_that_do_not_match_are_listed(changes, message, pretrained, tmp_path):
    model = {k: v for k, v in {**pretrained, **changes}.items() if v is not None}
    save_file(flat(model), tmp_path / "mine.safetensors")
    if message is None:
        eat.load_encoder(tmp_path / "mine.safetensors", **HEADS)
        return
    with pytest.raises(CheckpointError, match=message):
        eat.load_encoder(tmp_path / "mine.safetensors", **HEADS)


def test_tensors_of_another_network_are_listed(tmp_path):
    save_file({"encoder.layers.0.weight": torch.zeros(1)}, tmp_path / "beats.safetensors")
    message = (
        "beats.safetensors: found unexpected keys: encoder.layers.0.weight; missing:"
        r" model.extra_tokens, model.local_encoder.proj., .*model.blocks.$"
    )
    with pytest.raises(CheckpointError, match=message):
        eat.load_encoder(tmp_path / "beats.safetensors")


def test_a_folder_of_sslam(official_finetune, golden, tmp_path):
    """The Hugging Face layout under another model_type."""
    eat.convert_checkpoint(official_finetune, tmp_path / "ours", to="huggingface")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    changes = {"model_type": "sslam", "norm_mean": None, "id2label": None}
    config = {k: v for k, v in {**config, **changes}.items() if v is not None}
    folder = tmp_path / "SSLAM_AS2M_Finetuned"
    (tmp_path / "ours").rename(folder)
    (folder / "config.json").write_text(json.dumps(config))
    classifier = eat.load_classifier(folder)
    assert (classifier.log_mel.mean, classifier.log_mel.std) == (-4.268, 4.569)
    with torch.no_grad():
        expected = eat.load_classifier(official_finetune)(golden("source"))
        assert torch.equal(classifier(golden("source")), expected)


@pytest.mark.parametrize(
    "name, content",
    [
        ("class_labels_indices.csv",
         'index,mid,display_name\n0,/m/a,"Speech"\n1,/m/b,"Bell, big"\n2,/m/c,Owl\n'),
        ("labels.txt", "Speech\nBell, big\nOwl\n"),
        ("label_map.json", '{"Owl": 2, "Speech": 0, "Bell, big": 1}'),
        ("names.json", '{"0": "Speech", "1": "Bell, big", "2": "Owl"}'),
    ],
)  # fmt: skip
def test_names_of_classes_from_files(name, content, finetuned, tmp_path, caplog):
    save_file(finetuned, tmp_path / "ft.safetensors")
    assert eat.load_classifier(tmp_path / "ft.safetensors", **HEADS).labels is None
    (line,) = [r.getMessage() for r in caplog.records if "names no classes" in r.getMessage()]
    assert "labels=FILE (on the command line --labels FILE)" in line
    (tmp_path / name).write_text(content)
    expected = ["Speech", "Bell, big", "Owl"]
    given = eat.load_classifier(tmp_path / "ft.safetensors", labels=tmp_path / name, **HEADS)
    assert given.labels == expected
    beside = eat.load_classifier(tmp_path / "ft.safetensors", **HEADS).labels
    assert beside == (None if name == "names.json" else expected)


def test_where_the_names_of_audioset_are(finetuned, tmp_path, caplog):
    finetuned["head.weight"], finetuned["head.bias"] = torch.zeros(527, 48), torch.zeros(527)
    save_file(finetuned, tmp_path / "ft.safetensors")
    eat.load_classifier(tmp_path / "ft.safetensors", **HEADS)
    assert "v1/csv/class_labels_indices.csv" in caplog.text


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "labels.txt",
            "a\nb\n",
            "labels.txt: found 2 names, expected 3, the classes of .*ft.safet",
        ),
        ("a.json", '{"a": 0, "b": 0, "c": 1}', "a.json: found indices that skip or repeat some"),
        ("a.json", "[1, 2, 3]", "a.json: found no map of names and indices"),
        ("a.txt", "a\ncaf\udce9\nc\n", "a.txt: found 'utf-8' codec .* expected names in UTF-8"),
        ("a.csv", "0,/m/a,Speech\n2,/m/b,Owl\n", "a.csv:2: found"),
    ],
)
def test_names_that_do_not_fit(name, content, message, finetuned, tmp_path):
    save_file(finetuned, tmp_path / "ft.safetensors")
    (tmp_path / name).write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        eat.load_classifier(tmp_path / "ft.safetensors", labels=tmp_path / name, **HEADS)


def test_names_need_classes(official_pretrain, tmp_path):
    with pytest.raises(ValueError, match="labels: found .* without a classifier"):
        eat.convert_checkpoint(official_pretrain, tmp_path / "o.pt", to="eat", labels=["a"])
