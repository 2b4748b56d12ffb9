from types import SimpleNamespace

import pytest
import torch

from eat.training.gradients import GradientGuard, TrainingHealthError

NAN, FINE = torch.tensor(float("nan")), torch.tensor(2.0)


def make(max_skipped=3):
    return GradientGuard(max_skipped, lambda clip: f"{clip}.wav")


def optimizer(is_finite):
    return SimpleNamespace(has_finite_gradients=is_finite)


def test_finite_gradients_make_a_step():
    guard = make()
    guard.after_batch(torch.tensor([1]), NAN)  # of no matter for itself
    assert guard.allows_step(optimizer(True), 0)
    assert (guard.num_skipped, guard.skipped_last) == (0, False)


def test_a_step_is_skipped_and_the_clips_are_named(caplog):
    guard = make()
    guard.after_batch(torch.tensor([1, 2]), FINE)
    guard.after_batch(torch.tensor([3, 4]), NAN)
    assert not guard.allows_step(optimizer(False), 6)
    assert (guard.num_skipped, guard.skipped_last) == (1, True)
    assert caplog.messages == [
        "skipped update 7: gradients not finite with the batch of 3.wav, 4.wav"
    ]
    guard.after_batch(torch.tensor([5]), FINE)
    assert guard.allows_step(optimizer(True), 7)
    assert (guard.num_skipped, guard.skipped_last) == (1, False)


def test_all_clips_are_named_when_every_loss_is_finite(caplog):
    guard = make()
    for first in (0, 8):
        guard.after_batch(torch.arange(first, first + 8), FINE)
    guard.allows_step(optimizer(False), 0)
    assert "the batch of 0.wav, 1.wav, 2.wav, 3.wav, 4.wav, 5.wav, 6.wav, 7.wav, 8 more" in (
        caplog.text
    )


def test_several_in_a_row_end_the_run():
    guard = make(max_skipped=3)
    for is_finite in (False, False, True, False, False):
        guard.allows_step(optimizer(is_finite), 0)
    guard.after_batch(torch.tensor([9]), NAN)
    message = (
        r"task.max_skipped_updates: the gradients were not finite in 3 updates in a row, until"
        r" update 12, last with the batch of 9.wav. Listen to these clips"
    )
    with pytest.raises(TrainingHealthError, match=message):
        guard.allows_step(optimizer(False), 11)


class Scaled:
    """fairseq's fp16 optimizer after a step that overflowed."""

    def __init__(self, loss_scale, min_loss_scale=1e-6):
        self.fp32_optimizer = optimizer(False)
        self.scaler = SimpleNamespace(
            loss_scale=loss_scale, scale_factor=2.0, min_loss_scale=min_loss_scale
        )


def test_fp16_searches_its_scale_from_above():
    guard = make(max_skipped=3)
    for exponent in range(20, -1, -1):
        guard.after_batch(torch.tensor([1]), FINE)
        guard.before_batch(Scaled(2.0**exponent))
    assert guard.num_skipped == 21
    assert not guard.skipped_last


def test_fp16_that_overflows_at_small_scales():
    guard = make(max_skipped=3)
    guard.before_batch(Scaled(0.5))
    guard.before_batch(Scaled(0.25))
    guard.after_batch(torch.tensor([9]), NAN)
    message = (
        r"common.fp16: the gradients overflowed again and again, down to a loss scale of 0.125"
        r" \(common.min_loss_scale: 1e-06; task.max_skipped_updates: 3\), last with the batch of"
        r" 9.wav. Either the loss diverges: .*common.bf16=true"
    )
    with pytest.raises(TrainingHealthError, match=message):
        guard.before_batch(Scaled(0.125))


def test_fp16_that_reaches_the_smallest_scale_is_explained_before_fairseq_gives_up():
    guard = make(max_skipped=99)
    guard.before_batch(Scaled(4.0, min_loss_scale=1.0))
    with pytest.raises(TrainingHealthError, match="down to a loss scale of 2 "):
        guard.before_batch(Scaled(2.0, min_loss_scale=1.0))


def test_fp16_that_recovers():
    guard = make(max_skipped=3)
    for _ in range(3):
        guard.before_batch(Scaled(0.5))
        guard.before_batch(Scaled(0.25))
        assert guard.allows_step(optimizer(True), 0)


def test_an_optimizer_that_does_not_tell():
    guard = make()
    guard.before_batch(SimpleNamespace())
    assert guard.allows_step(SimpleNamespace(), 0)
