import dataclasses
from types import SimpleNamespace

import pytest
import torch

import eat
from eat.checkpoint import CheckpointError, convert_checkpoint, load_checkpoint
from eat.data.labels import Label
from eat.models.classification import ClassificationModel, ClassificationModelConfig

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 4}


def classes(*ids):
    return [Label(index, label_id, label_id.upper()) for index, label_id in enumerate(ids)]


def make(descriptors=None, seed=0, **settings):
    torch.manual_seed(seed)
    cfg = ClassificationModelConfig(**{**SMALL, **settings})
    return ClassificationModel(cfg, descriptors or classes("en", "fr", "ru"))


@pytest.fixture
def source():
    return torch.randn(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))


def test_it_computes_what_the_classifier_computes(official_finetune, source):
    model, expected = make().eval(), eat.load_classifier(official_finetune)
    model.init_from(load_checkpoint(official_finetune))
    with torch.no_grad():
        assert torch.equal(model(source), expected(source))
        assert set(model.state_dict()) == set(expected.state_dict())
        model = make(pooling="mean").eval()
        expected = model.head(model.fc_norm(model.encoder(source)[:, 1:].mean(dim=1)))
        assert torch.equal(model(source), expected)


def test_learning_rates_fall_with_depth():
    model = make(layer_decay=0.65)
    scales = {n: getattr(p, "param_group", 1.0) for n, p in model.named_parameters()}
    for index, expected in enumerate((0.65**3, 0.65**2, 0.65)):
        of_block = {s for n, s in scales.items() if n.startswith(f"encoder.blocks.{index}.")}
        assert sorted(of_block) == pytest.approx([expected])
    others = {name for name in scales if ".blocks." not in name}
    assert {"encoder.cls_token", "encoder.patch_embed.proj.weight", "head.weight"} < others
    assert {scales[name] for name in others} == {1.0}


def test_a_linear_probe_trains_the_head_alone(source):
    model = make(freeze_encoder=True, drop_path=0.5).train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert model.training and not model.encoder.training
    assert torch.equal(model(source), model(source))  # no drop path
    model(source).sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())


def test_lora_trains_adapters_and_the_head(official_pretrain, tmp_path, source):
    settings = {"init_from": str(official_pretrain), "lora_rank": 2, "layer_decay": 0.5}
    cfg = ClassificationModelConfig(**SMALL, drop_path=0.0, **settings)
    task = SimpleNamespace(descriptors=classes("a", "b"), steps_per_row=1)
    model = ClassificationModel.build_model(cfg, task)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    head = {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert head < trained.keys()
    assert all(".attn." in name and ".lora_" in name for name in trained.keys() - head)
    assert len(trained) == 4 + 3 * 2 * 2
    assert not any(hasattr(parameter, "param_group") for parameter in trained.values())
    optimizer = torch.optim.SGD(trained.values(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(source), torch.tensor([0, 1])).backward()
        optimizer.step()
    # As fairseq saves it: whoever loads or converts it finds plain weights.
    cfg = {"model": {**vars(cfg), "_name": "eat_classifier"}}
    torch.save({"cfg": cfg, "model": model.state_dict()}, tmp_path / "lora.pt")
    eat.convert_checkpoint(tmp_path / "lora.pt", tmp_path / "folder", to="huggingface")
    with torch.no_grad():
        for path in ("lora.pt", "folder"):
            found = eat.load_classifier(tmp_path / path)(source)
            assert torch.allclose(found, model(source), atol=1e-5)
    start = eat.load_encoder(official_pretrain).state_dict()
    changed = {
        name
        for name, value in eat.load_encoder(tmp_path / "lora.pt").state_dict().items()
        if not torch.equal(value, start[name])
    }
    assert changed == {
        f"blocks.{i}.attn.{name}.weight" for i in range(3) for name in ("qkv", "proj")
    }


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lora_rank": -1}, "model.lora_rank: found -1, expected 0 or more"),
        ({"lora_rank": 2, "freeze_encoder": True}, "found 2 with model.freeze_encoder=True"),
        ({"lora_rank": 2, "init_from": None}, "model.init_from=None, expected false and a check"),
    ],
)
def test_lora_needs_a_checkpoint_to_adapt(settings, message):
    cfg = ClassificationModelConfig(**{**SMALL, "init_from": "x.pt", **settings})
    with pytest.raises(ValueError, match=message):
        ClassificationModel.build_model(cfg, None)


def test_the_teacher_to_start_from(official_pretrain, official_finetune):
    model = make()
    model.init_from(load_checkpoint(official_pretrain), weights="teacher")
    teacher = eat.load_encoder(official_pretrain, weights="teacher").state_dict()
    assert all(torch.equal(v, teacher[k]) for k, v in model.encoder.state_dict().items())
    with pytest.raises(CheckpointError, match="found no teacher in this fine-tuned checkpoint"):
        model.init_from(load_checkpoint(official_finetune), weights="teacher")


def test_a_head_is_kept_for_the_same_classes_by_id_or_name(official_finetune):
    """The released checkpoint knows ids."""
    checkpoint = load_checkpoint(official_finetune)
    assert checkpoint.labels == ["en", "fr", "ru"]
    for labels in (["en", "fr", "ru"], ["EN", "FR", "RU"], None):
        model = make()
        model.init_from(dataclasses.replace(checkpoint, labels=labels))
        assert torch.equal(model.head.weight, checkpoint.classifier["head.weight"])


@pytest.mark.parametrize(
    "ids, message",
    [
        (("en", "fr", "ru", "de"), "found 3 classes, expected 4 .*model.new_head=true"),
        (("en", "ru", "fr"), "found 'fr' as class 1, expected 'RU'"),
    ],
)
def test_a_head_for_other_classes(official_finetune, ids, message):
    checkpoint = load_checkpoint(official_finetune)
    model, untouched = make(classes(*ids)), make(classes(*ids))
    with pytest.raises(ValueError, match=message):
        model.init_from(checkpoint)
    model.init_from(checkpoint, new_head=True)
    assert torch.equal(model.head.weight, untouched.head.weight)
    assert not torch.equal(model.encoder.cls_token, untouched.encoder.cls_token)


def test_a_head_for_another_pooling(official_finetune):
    """It would be fed what it was not trained on."""
    model = make(pooling="mean")
    message = "found a head with pooling cls and 1 .*, expected mean and 1; model.new_head=true"
    with pytest.raises(ValueError, match=message):
        model.init_from(load_checkpoint(official_finetune))


def test_a_head_without_a_norm(official_finetune):
    """As ESP-AVES2's `sl-eat-*` have it; their encoder is a start like any other."""
    checkpoint = load_checkpoint(official_finetune)
    config = dataclasses.replace(checkpoint.classifier_config, use_fc_norm=False)
    head = {key: value for key, value in checkpoint.classifier.items() if "norm" not in key}
    checkpoint = dataclasses.replace(checkpoint, classifier_config=config, classifier=head)
    model = make()
    with pytest.raises(ValueError, match="a head without a norm before it, .*model.new_head=true"):
        model.init_from(checkpoint)
    model.init_from(checkpoint, new_head=True)
    assert torch.equal(model.encoder.cls_token, checkpoint.encoder["cls_token"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"drop_path": 1.0}, "model.drop_path: found 1.0, expected a number from 0 to below 1"),
        ({"layer_decay": 0.0}, "model.layer_decay: found 0.0, expected a number above 0, up to 1"),
        ({"pooling": "max"}, "pooling: found 'max', expected one of"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_head_in_time_starts_anew_from_one_for_clips(official_finetune, tmp_path, source):
    settings = {"pooling": "time", "init_from": str(official_finetune)}
    cfg = ClassificationModelConfig(**SMALL, **settings)
    task = SimpleNamespace(descriptors=classes("en", "fr", "ru"), steps_per_row=2)
    message = "found a head with pooling cls and 1 steps of a row of patches, expected time and 2"
    with pytest.raises(ValueError, match=f"model.init_from: .*{message}; model.new_head=true"):
        ClassificationModel.build_model(cfg, task)
    cfg.new_head = True
    model = ClassificationModel.build_model(cfg, task).eval()
    assert model(source).shape == (2, 16, 3)
    # As fairseq writes it: the steps are the task's.
    state = {
        "cfg": {"model": {**dataclasses.asdict(cfg), "_name": "eat_classifier"}},
        "model": model.state_dict(),
        "task_state": {"labels": ["a", "b", "c"], "activation": "sigmoid", "steps_per_row": 2},
    }
    torch.save(state, tmp_path / "timed.pt")
    for to, name in (("eat", "own.pt"), ("safetensors", "own.safetensors")):
        convert_checkpoint(tmp_path / "timed.pt", tmp_path / name, to)
        loaded = eat.load_classifier(tmp_path / name)
        assert loaded.config == model.config and loaded.step_seconds == pytest.approx(0.08)
        assert loaded.labels == ["a", "b", "c"]
        with torch.no_grad():
            assert torch.equal(loaded(source), model(source))
    cfg = ClassificationModelConfig(**SMALL, pooling="time", init_from=str(tmp_path / "own.pt"))
    task.descriptors = classes("a", "b", "c")
    again = ClassificationModel.build_model(cfg, task).eval()
    assert torch.equal(again(source), model(source))
