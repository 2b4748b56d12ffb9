import pytest
import torch
from torch.nn.functional import layer_norm

from eat.criterions.ufo import UfoConfig, UfoCriterion
from eat.models.pretraining import PretrainingModel, PretrainingModelConfig
from eat.nn.mixtures import MixturesConfig, draw_mixed_rows, mean_of_sources, mix_partners
from eat.nn.teacher import average_layers

SMALL = {
    **{"embed_dim": 16, "depth": 2, "num_heads": 2, "average_top_k_layers": 2},
    **{"decoder_depth": 1, "decoder_groups": 4, "mask_noise_std": 0.0, "num_position_rows": 8},
}


def make_model(**settings):
    torch.manual_seed(0)
    return PretrainingModel(PretrainingModelConfig(**SMALL, **settings))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(3, 1, 128, 128, generator=generator)
    return {"source": source, "mask": torch.rand(3, 2, 64, generator=generator).argsort(-1) >= 12}


@pytest.mark.parametrize(
    "num_rows, ratio, unmixed",
    [(64, 0.469, 30), (8, 0.469, 4), (8, 0.0, 0), (8, 0.99, 6), (1, 0.5, 0)],
)
def test_two_regions_of_a_mixture_stay_unmixed(num_rows, ratio, unmixed):
    config = MixturesConfig(unmixed_ratio=ratio)
    torch.manual_seed(0)
    drawn = torch.stack([draw_mixed_rows(config, num_rows) for _ in range(500)])
    assert set((~drawn).sum(dim=1).tolist()) == {unmixed}
    ends = (drawn[:, 1:] != drawn[:, :-1]).sum(dim=1)  # a region that touches nothing has two
    assert ends.max() <= 4 and ((~drawn).any(dim=0).all() or not unmixed)
    torch.manual_seed(0)
    assert torch.equal(draw_mixed_rows(config, num_rows), drawn[0])


def test_a_mixture_holds_the_louder_cells_of_a_clip_and_the_one_before(batch):
    source = batch["source"]
    torch.manual_seed(1)
    is_mixed = draw_mixed_rows(MixturesConfig(), 8).repeat_interleave(16)
    torch.manual_seed(1)
    mixtures, ids = mix_partners(MixturesConfig(), source, 16)
    for clip, partner in ((0, 2), (1, 0), (2, 1)):
        louder = torch.maximum(source[clip, 0], source[partner, 0])
        assert torch.equal(mixtures[clip, 0, is_mixed], louder[is_mixed])
        assert torch.equal(mixtures[clip, 0, ~is_mixed], source[clip, 0, ~is_mixed])
    assert torch.equal(ids, is_mixed[::16].repeat_interleave(8).nonzero().squeeze(1))
    assert ids.shape == (32,)


def test_padding_is_not_mixed(batch):
    """It is often a larger number than the sound that it would drown."""
    source = batch["source"][:2]
    source[0, :, 48:] = source[1, :, 96:] = 9.0
    mixtures, _ = mix_partners(MixturesConfig(unmixed_ratio=0.0), source, 16)
    for clip in (0, 1):
        assert torch.equal(mixtures[clip, :, :48], torch.maximum(source[0], source[1])[:, :48])
        assert torch.equal(mixtures[clip, :, 48:96], source[1, :, 48:96])
        assert torch.all(mixtures[clip, :, 96:] == 9.0)


def test_targets_of_mixed_patches_are_means_of_both_clips():
    targets = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]).unsqueeze(2)
    alone = torch.tensor([[100.0, 200.0], [1000.0, 2000.0]]).unsqueeze(2)
    found = mean_of_sources(targets, alone, torch.tensor([0, 2])).squeeze(2)
    assert found.tolist() == [[500.5, 2.0, 1001.5], [55.0, 20.0, 115.0]]


@torch.no_grad()
def test_the_model_predicts_clips_mixtures_and_sources(batch):
    model = make_model(mixtures=True, utterance_top_k_layers=1)
    torch.manual_seed(1)
    found = model(**batch)
    torch.manual_seed(1)
    mixtures, ids = mix_partners(model.mixing, batch["source"], 16)
    plain = make_model(utterance_top_k_layers=1)
    for place, source in ((0, batch["source"]), (1, mixtures)):
        expected = plain(source=source, mask=batch["mask"])
        assert "source_targets" not in expected
        for name in ("frame", "utterance"):
            for key in (f"{name}_predictions", f"{name}_targets"):
                part = found[key].chunk(2)[place]
                assert torch.allclose(part, expected[key], atol=1e-5), key
    assert torch.equal(found["mask"], batch["mask"].repeat(2, 1, 1))
    # Of the partner the teacher sees what is mixed, at its place.
    teacher = model.teacher
    patches = teacher.encoder.embed(batch["source"])
    alone = average_layers(y for _, y in teacher.encoder.run_blocks(patches[:, ids]))
    targets = mean_of_sources(teacher(batch["source"])[0], alone, ids)
    hidden = torch.cat([targets[clip][m] for clip in range(3) for m in batch["mask"][clip]])
    assert torch.allclose(found["source_targets"], hidden, atol=1e-5)
    # The target of an utterance is of the last block alone.
    *_, (_, last) = teacher.encoder.layers(mixtures)
    last = layer_norm(average_layers([last]), (16,)).mean(dim=1)
    assert torch.allclose(found["utterance_targets"][6::2], last, atol=1e-4)


@torch.no_grad()
def test_the_loss_of_the_sources_is_a_mean_over_the_patches_of_mixtures(batch):
    model = make_model(mixtures=True)
    torch.manual_seed(1)
    criterion = UfoCriterion(UfoConfig(utterance_weight=2.0, source_weight=3.0), None)
    loss, sample_size, log = criterion(model, {"net_input": batch})
    torch.manual_seed(1)
    output = model(**batch)
    assert sample_size == 2 * 3 * 2 * 52
    errors = output["frame_predictions"][sample_size // 2 :] - output["source_targets"]
    expected = errors.square().sum(dim=1).mean().item() / 4
    assert log["source_loss"].item() / sample_size == pytest.approx(expected, rel=1e-5)
    parts = log["frame_loss"] + 2 * log["utterance_loss"] + 3 * log["source_loss"]
    assert loss.item() == log["loss"].item() == pytest.approx(parts.item(), rel=1e-6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"unmixed_ratio": 1.0}, "unmixed_ratio: found 1.0, expected a number from 0 to below 1"),
        (
            {"utterance_top_k_layers": 3},
            "utterance_top_k_layers: found 3, expected 0 to average_top_k_layers 2",
        ),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)
