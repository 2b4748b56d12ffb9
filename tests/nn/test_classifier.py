import numpy as np
import pytest
import torch

from eat.nn import Classifier, ClassifierConfig, Encoder, EncoderConfig


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("as_what", [list, np.array, torch.tensor])
@torch.no_grad()
def test_lengths_as_any_kind_of_numbers(pooling, as_what):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=2, num_position_rows=8))
    classifier = Classifier(ClassifierConfig(num_classes=3, pooling=pooling), encoder).eval()
    source = torch.randn(2, 1, 64, 128)
    logits = classifier(source, lengths=as_what([64, 20]))
    alone = classifier(source[1:, :, :32], lengths=as_what([20]))
    assert torch.allclose(logits[1:], alone, atol=1e-6)


@pytest.mark.parametrize("steps_per_row", [1, 4])
@torch.no_grad()
def test_scores_over_time_are_those_of_the_rows_in_order(steps_per_row):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=2, num_position_rows=8))
    config = ClassifierConfig(3, pooling="time", use_fc_norm=False, steps_per_row=steps_per_row)
    classifier = Classifier(config, encoder).eval()
    source = torch.randn(2, 1, 64, 128)
    logits = classifier(source)
    assert logits.shape == (2, 4 * steps_per_row, 3)
    row = encoder(source)[:, 1:].reshape(2, 4, 8 * 16)[:, 2]
    expected = classifier.head(row).reshape(2, steps_per_row, 3)
    assert torch.allclose(logits[:, 2 * steps_per_row : 3 * steps_per_row], expected, atol=1e-6)
    alone = classifier(source[1:, :, :32], lengths=[20])
    padded = classifier(source, lengths=[64, 20])[1:, : 2 * steps_per_row]
    assert torch.allclose(padded, alone, atol=1e-6)
    assert classifier.step_seconds == pytest.approx(0.16 / steps_per_row)


def test_several_scores_per_row_need_scores_over_time():
    encoder = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=2, num_position_rows=8))
    with pytest.raises(ValueError, match="steps_per_row: found 2 with pooling 'mean'"):
        Classifier(ClassifierConfig(3, pooling="mean", steps_per_row=2), encoder)
