import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eat.criterions.classification import ClassificationConfig, ClassificationCriterion


class Logits(nn.Module):
    """A model whose output is its only parameter."""

    def __init__(self, num_clips=4, num_classes=5):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.logits = nn.Parameter(torch.randn(num_clips, num_classes, generator=generator))

    def forward(self, source):
        return self.logits[source]


def run(model, target, clips=None, training=True, **settings):
    criterion = ClassificationCriterion(ClassificationConfig(**settings), task=None)
    criterion.train(training)
    clips = range(len(target)) if clips is None else clips
    sample = {
        "net_input": {"source": torch.tensor(list(clips))},
        "target": torch.as_tensor(target, dtype=torch.float64),
        "num_labels": torch.as_tensor(target).sum().item(),
    }
    return criterion(model, sample)


@pytest.fixture
def model():
    return Logits()


MULTI = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]
SINGLE = torch.eye(5)[[1, 0, 4, 2]]
MIXED = 0.7 * SINGLE + 0.3 * SINGLE.flip(0)


@pytest.mark.parametrize("reduction, divisor", [("labels", 7), ("clips", 4)])
def test_binary_cross_entropy(model, reduction, divisor):
    settings = {"loss": "bce", "reduction": reduction}
    loss, sample_size, log = run(model, MULTI, **settings)
    expected = F.binary_cross_entropy_with_logits(model.logits, torch.tensor(MULTI).float())
    assert loss.item() == pytest.approx(expected.item() * 20, rel=1e-6)  # a sum, not a mean
    assert (sample_size, log["sample_size"], log["nsentences"]) == (divisor, divisor, 4)
    assert run(model, MULTI, **settings, label_smoothing=0.1)[1] == divisor
    # The released divisor of mixed labels is their sum.
    mixed = run(model, 0.7 * torch.tensor(MULTI), **settings)[1]
    assert mixed == pytest.approx(0.7 * 7 if reduction == "labels" else 4)


@pytest.mark.parametrize("target", [SINGLE, MIXED])
def test_cross_entropy_takes_soft_labels(model, target):
    loss, sample_size, _ = run(model, target, loss="cross_entropy", reduction="clips")
    expected = F.cross_entropy(model.logits, target, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert sample_size == 4


def test_label_smoothing_is_torch_s_and_for_training_only(model):
    settings = {"loss": "cross_entropy", "reduction": "clips", "label_smoothing": 0.1}
    for training, smoothing in ((True, 0.1), (False, 0.0)):
        loss, _, _ = run(model, SINGLE, training=training, **settings)
        expected = F.cross_entropy(
            model.logits, SINGLE.argmax(1), label_smoothing=smoothing, reduction="sum"
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    "loss, probabilities", [("bce", torch.sigmoid), ("cross_entropy", lambda x: x.softmax(dim=1))]
)
def test_scores_rank_like_the_probabilities(model, loss, probabilities):
    """Over clips, not just over the classes of one: a softmax depends on the other logits."""
    scores = run(model, SINGLE, training=False, loss=loss)[2]["scores"]
    expected = probabilities(model.logits)
    assert torch.equal(scores.argsort(dim=0), expected.argsort(dim=0))
    assert "scores" not in run(model, SINGLE, loss=loss)[2]


@pytest.mark.parametrize("reduction", ["labels", "clips"])
def test_two_workers_are_one(model, reduction):
    """fairseq adds gradients and sample sizes of workers with unequal batches."""
    settings = {"loss": "bce", "reduction": reduction}

    def gradient(parts):
        model.zero_grad()
        total = 0
        for clips in parts:
            loss, sample_size, _ = run(model, [MULTI[i] for i in clips], clips, **settings)
            loss.backward()
            total += sample_size
        return model.logits.grad / total

    assert torch.allclose(gradient([[0, 1, 2, 3]]), gradient([[0, 1, 2], [3]]), atol=1e-7)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"loss": "mse"}, "criterion.loss: found 'mse', expected one of bce, cross_entropy"),
        ({"reduction": "mean"}, "criterion.reduction: found 'mean', expected one of labels, clips"),
        ({"metric": "map"}, "criterion.metric: found 'map', expected one of mAP, accuracy"),
        ({"label_smoothing": 1.0}, "criterion.label_smoothing: found 1.0, expected 0 to below 1"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ClassificationCriterion(ClassificationConfig(**settings), task=None)


class StepLogits(nn.Module):
    """A model whose output over time is its only parameter."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.logits = nn.Parameter(torch.randn(2, 4, 3, generator=generator))

    def forward(self, source):
        return self.logits


def run_timed(model, target, num_frames, training=True, **settings):
    criterion = ClassificationCriterion(ClassificationConfig(**settings), task=None)
    sample = {
        "net_input": {"source": torch.zeros(2, 1, 32, 16)},  # 4 steps of 8 frames
        "target": torch.as_tensor(target, dtype=torch.float64),
        "num_frames": torch.tensor(num_frames),
        "num_labels": torch.as_tensor(target).sum().item(),
    }
    return criterion.train(training)(model, sample)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_in_time_is_that_of_the_steps_that_are_no_padding(smoothing):
    model, target = StepLogits(), torch.zeros(2, 4, 3)
    target[0, 1:3, 0], target[0, 3, 0], target[1, 0, 2] = 1.0, 0.25, 0.5
    # The second clip ends in its second step.
    loss, sample_size, log = run_timed(
        model, target, [32, 9], reduction="labels", label_smoothing=smoothing
    )
    smooth = target * (1 - smoothing) + smoothing / 3
    probability = model.logits.detach().sigmoid()
    terms = -(smooth * probability.log() + (1 - smooth) * (1 - probability).log())
    assert loss.item() == pytest.approx((terms[0].sum() + terms[1, :2].sum()).item(), rel=1e-5)
    assert (sample_size, log["nsentences"]) == (2.75, 2)
    loss.backward()
    assert not model.logits.grad[1, 2:].any() and model.logits.grad[1, :2].all()
    assert run_timed(model, target, [32, 9], reduction="clips")[1] == 2
    # Clips may have no events.
    assert run_timed(model, 0 * target, [32, 9], reduction="labels")[1] == 1
    scores = run_timed(model, target, [32, 9], training=False)[2]["scores"]
    assert torch.equal(scores, model.logits)
