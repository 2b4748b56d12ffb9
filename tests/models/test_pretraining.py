import pytest
import torch
from torch import nn

import eat
from eat.checkpoint import CheckpointError, official
from eat.criterions.ufo import ufo_losses
from eat.models.pretraining import PretrainingModel, PretrainingModelConfig, compile_layers

SMALL = {
    **{"embed_dim": 48, "depth": 3, "num_heads": 4, "average_top_k_layers": 3},
    **{"decoder_depth": 2, "decoder_groups": 4, "num_clones": 4},
}

# For what is computed twice.
TINY = {
    **{"embed_dim": 16, "depth": 2, "num_heads": 2, "average_top_k_layers": 2},
    **{"decoder_depth": 2, "decoder_groups": 4, "num_clones": 4, "mask_noise_std": 0.0},
}


def assert_close(found, recorded, tolerance=1e-4):
    assert found.shape == recorded.shape
    assert ((found - recorded).abs().max() / recorded.abs().max()) < tolerance


@pytest.fixture(scope="module")
def recorded_step(golden, official_pretrain):
    """The recorded training step, done by our model: (model after backward, output, losses)."""
    model = eat.load_pretraining_model(official_pretrain, mask_noise_std=0.0)
    output = model(source=golden("source"), mask=golden("mask").bool().view(2, 4, 64))
    losses = ufo_losses(output)
    rows = output["utterance_predictions"].shape[0]
    # The released weighting: lambda 1 is a sum over the rows, 8 times their mean.
    (losses.frame_sum / losses.num_masked + rows * (losses.utterance_sum / rows)).backward()
    return model, output, losses


@pytest.mark.parametrize(
    "ours, recorded",
    [
        ("frame_predictions", "frame_pred"),
        ("frame_targets", "frame_target"),
        ("utterance_predictions", "cls_pred"),
        ("utterance_targets", "cls_target"),
    ],
)
def test_predictions_and_targets_equal_the_recorded_ones(recorded_step, golden, ours, recorded):
    assert_close(recorded_step[1][ours], golden(recorded), 1e-5)


def test_losses_equal_the_recorded_ones(recorded_step, golden):
    losses = recorded_step[2]
    assert losses.num_masked == losses["num_masked"] == int(golden("sample_size"))
    frame_sum = golden("loss_IMAGE_regression").item()
    assert losses.frame_sum.item() == pytest.approx(frame_sum, rel=1e-5)
    # Recorded already multiplied by the sample size.
    utterance_sum = golden("loss_cls").item() / losses.num_masked
    assert losses["utterance_sum"].item() == pytest.approx(utterance_sum, rel=1e-5)


def test_every_gradient_equals_the_recorded_one(recorded_step, golden, official_pretrain):
    model = recorded_step[0]
    released = torch.load(official_pretrain, weights_only=True)
    names = [key for key in released["model"] if key != "_ema" and not key.endswith(".positions")]
    # Gradients have the shapes of the weights: read like a checkpoint, they get our names.
    recorded = {name: golden(f"grad_{name}") for name in names}
    gradients = official.read({**released, "model": recorded}, "")
    for part, expected in (("encoder", gradients.encoder), ("decoder", gradients.decoder)):
        for name, gradient in expected.items():
            assert_close(model.get_parameter(f"{part}.{name}").grad, gradient, 1e-4)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(gradients.encoder) + len(gradients.decoder) == len(trained)
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


def test_student_and_decoder_have_the_parameters_of_the_paper():
    model = PretrainingModel(PretrainingModelConfig(num_position_rows=1))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 87_840_000


def test_clones_and_length_come_from_the_tensors(official_pretrain):
    model = eat.load_pretraining_model(official_pretrain)
    mask = torch.ones(2, 3, 16 * 8, dtype=torch.bool)
    mask[..., :20] = False
    output = model(source=torch.randn(2, 1, 256, 128), mask=mask)
    assert output["frame_predictions"].shape == (2 * 3 * (128 - 20), 48)
    assert output["utterance_predictions"].shape == output["utterance_targets"].shape == (6, 48)


def test_clones_do_not_see_each_other(official_pretrain):
    model = eat.load_pretraining_model(official_pretrain, mask_noise_std=0.0)
    source = torch.randn(2, 1, 128, 128)
    mask = torch.rand(2, 4, 64).argsort(dim=-1) >= 12
    together = model(source=source, mask=mask)
    alone = model(source=source[1:], mask=mask[1:, 2:3])
    for name, rows in (("utterance_predictions", 1), ("frame_predictions", 52)):
        found = together[name].view(8, rows, 48)[6]
        assert torch.allclose(found, alone[name], atol=1e-5)


def test_wrong_masks(official_pretrain):
    model = eat.load_pretraining_model(official_pretrain)
    source = torch.zeros(1, 1, 128, 128)
    mask = torch.rand(1, 4, 64).argsort(dim=-1) >= 12
    with pytest.raises(ValueError, match=r"mask: found shape \(1, 4, 32\), expected \(1, K, 64\)"):
        model(source=source, mask=mask[..., :32])
    with pytest.raises(ValueError, match=r"mask: found torch.int64, expected torch.bool"):
        model(source=source, mask=mask.long())  # of 0 and 1, `~` makes nothing that is false


def test_init_from_a_pretrained_checkpoint_takes_everything(official_pretrain):
    cfg = PretrainingModelConfig(**SMALL, init_from=official_pretrain)
    model = PretrainingModel.build_model(cfg)
    reference = eat.load_pretraining_model(official_pretrain)
    for key, value in reference.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_init_from_a_finetuned_checkpoint_takes_the_encoder(official_finetune, caplog):
    cfg = PretrainingModelConfig(**SMALL, init_from=official_finetune)
    model = PretrainingModel.build_model(cfg)
    expected = eat.load_encoder(official_finetune).state_dict()
    for key, value in expected.items():
        assert torch.equal(model.encoder.state_dict()[key], value)
        assert torch.equal(model.teacher.encoder.state_dict()[key], value)
    assert "has no decoder: it starts from scratch" in caplog.text
    assert "has no teacher: it starts as the student" in caplog.text


def test_checkpoints_that_do_not_fit(official_pretrain, official_finetune):
    cfg = PretrainingModelConfig(**{**SMALL, "depth": 2, "average_top_k_layers": 2})
    cfg.init_from = official_pretrain
    message = "the encoder does not match: 12 unexpected: blocks.2"
    with pytest.raises(CheckpointError, match=message):
        PretrainingModel.build_model(cfg)
    with pytest.raises(ValueError, match=r"unknown model settings \['mask_noise'\]"):
        eat.load_pretraining_model(official_pretrain, mask_noise=0.0)
    with pytest.raises(CheckpointError, match="found a fine-tuned checkpoint without decoder"):
        eat.load_pretraining_model(official_finetune)


def gradients(model):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(2, 1, 64, 128, generator=generator)
    mask = torch.rand(2, 4, 32, generator=generator).argsort(dim=-1) >= 6
    output = model(source=source, mask=mask)
    losses = [
        output[f"{name}_predictions"].sub(output[f"{name}_targets"]).square().sum()
        for name in ("frame", "utterance")
    ]
    sum(losses).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def make(**settings):
    torch.manual_seed(0)
    return PretrainingModel(PretrainingModelConfig(**TINY, **settings))


@pytest.mark.parametrize(
    "settings",
    [{"checkpoint_activations": True}, pytest.param({"compile": True}, marks=pytest.mark.slow)],
)
def test_other_ways_to_compute_give_the_same_gradients_and_names(settings):
    model, other = make(), make(**settings)
    assert list(other.state_dict()) == list(model.state_dict())
    found, expected = gradients(other), gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-4), name


def test_checkpointing_keeps_only_the_inputs_of_layers():
    def kept(model):
        """Bytes that autograd keeps between the passes."""
        sizes = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            for x, _ in model.encoder.run_blocks(torch.randn(4, 30, 16)):
                pass
        return sum(sizes.values())

    assert kept(make(checkpoint_activations=True)) < kept(make()) / 2


def test_a_torch_that_cannot_compile_layers(monkeypatch):
    monkeypatch.delattr(nn.Module, "compile")
    with pytest.raises(ValueError, match=r"model.compile: found torch .*, expected >= 2.2"):
        compile_layers(make())
