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
