import pytest
import torch
from fairseq.logging import metrics
from torch import nn

from eat.criterions.ufo import UfoConfig, UfoCriterion, ufo_losses
from eat.models.pretraining import PretrainingModel, PretrainingModelConfig
from eat.training.validation import effective_rank, moments

SMALL = {
    **{"embed_dim": 16, "depth": 2, "num_heads": 2, "average_top_k_layers": 2},
    **{"decoder_depth": 1, "decoder_groups": 4, "num_clones": 4, "mask_noise_std": 0.0},
}


def make_batch(num_clips, num_clones=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(num_clips, 1, 64, 128, generator=generator)
    mask = torch.rand(num_clips, num_clones, 32, generator=generator).argsort(dim=-1) >= 6
    return {"net_input": {"source": source, "mask": mask}}


def part(batch, start, end):
    return {"net_input": {key: value[start:end] for key, value in batch["net_input"].items()}}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PretrainingModel(PretrainingModelConfig(**SMALL))


def gradients(model, criterion, batches):
    """Gradients as fairseq makes them: summed losses over the summed sample sizes."""
    model.zero_grad()
    total = 0
    for batch in batches:
        loss, sample_size, _ = criterion(model, batch)
        loss.backward()
        total += sample_size
    return {n: p.grad / total for n, p in model.named_parameters() if p.requires_grad}


def test_losses_are_squared_errors_over_the_root_of_the_width():
    torch.manual_seed(0)
    output = {
        f"{level}_{kind}": torch.randn(rows, 16)
        for level, rows in (("frame", 10), ("utterance", 4))
        for kind in ("predictions", "targets")
    }
    frame_sum, utterance_sum, num_masked = ufo_losses(output)
    errors = output["frame_predictions"] - output["frame_targets"]
    assert frame_sum.item() == pytest.approx((errors**2).sum().item() / 4)
    errors = output["utterance_predictions"] - output["utterance_targets"]
    assert utterance_sum.item() == pytest.approx((errors**2).sum().item() / 4)
    assert num_masked == 10


@pytest.mark.parametrize("num_clips", [1, 3])
def test_the_loss_is_a_sum_of_means_whatever_the_batch(model, num_clips):
    batch = make_batch(num_clips)
    loss, sample_size, _ = UfoCriterion(UfoConfig(utterance_weight=5.0), None)(model, batch)
    output = model(**batch["net_input"])
    frame = nn.functional.mse_loss(output["frame_predictions"], output["frame_targets"])
    utterance = nn.functional.mse_loss(output["utterance_predictions"], output["utterance_targets"])
    assert sample_size == num_clips * 4 * 26
    expected = 4 * (frame + 5 * utterance).item()
    assert (loss / sample_size).item() == pytest.approx(expected, rel=1e-5)


def test_accumulated_batches_equal_the_large_batch(model):
    batch = make_batch(6)
    criterion = UfoCriterion(UfoConfig(), None)
    whole = gradients(model, criterion, [batch])
    parts = gradients(model, criterion, [part(batch, 0, 1), part(batch, 1, 4), part(batch, 4, 6)])
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, rtol=1e-4, atol=1e-6), name


def test_the_logged_sums(model):
    batch = make_batch(2)
    loss, sample_size, log = UfoCriterion(UfoConfig(utterance_weight=2.0), None)(model, batch)
    total = (log["frame_loss"] + 2 * log["utterance_loss"]).item()
    assert [log["loss"].item(), total] == pytest.approx([loss.item()] * 2)
    assert log["sample_size"] / log["num_patches"] == 26 / 32
    assert log["ema_decay"] / sample_size == pytest.approx(0.9998)
    assert log["target_var"].item() / sample_size == pytest.approx(1.0, abs=0.2)
    assert log["nsentences"] == 2
    assert UfoCriterion.logging_outputs_can_be_summed()
    nn.init.zeros_(model.decoder.proj.weight)  # collapsed predictions have no spread
    _, sample_size, log = UfoCriterion(UfoConfig(), None)(model, make_batch(2))
    assert log["prediction_var"].item() / sample_size == pytest.approx(1e-3, rel=0.01)


@torch.no_grad()
def test_validation_logs_effective_ranks_of_all_its_clips(model):
    batch, criterion = make_batch(6), UfoCriterion(UfoConfig(), None).eval()
    tokens = model.encoder(batch["net_input"]["source"])
    for parts in ([(0, 6)], [(0, 1), (1, 4), (4, 6)]):
        with metrics.aggregate(new_root=True) as found:
            for ends in parts:
                criterion.reduce_metrics([criterion(model, part(batch, *ends))[2]])
        found = found.get_smoothed_values()
        assert found["cls_rank"] == round(effective_rank(moments(tokens[:, 0])), 2)
        assert found["patch_rank"] == round(effective_rank(moments(tokens[:, 1:])), 2)
        assert (found["max_cls_rank"], found["max_patch_rank"]) == (5, 16)
    assert not any("moments" in key for key in criterion.train()(model, batch)[2])
