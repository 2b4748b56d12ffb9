import pytest
import torch

from eat.nn.patches import sincos_positions


def test_close_to_the_recorded_table(official_pretrain):
    """The released table was made in float32, which costs it a few 1e-5 in late rows."""
    model = torch.load(official_pretrain, weights_only=True)["model"]
    recorded = model["modality_encoders.IMAGE.fixed_positional_encoder.positions"][0]
    assert torch.allclose(sincos_positions(768, 8, 48), recorded, atol=5e-5)


def test_first_half_is_frequency_second_half_is_time():
    table = sincos_positions(6, 4, 16).view(6, 4, 16)
    assert torch.equal(table[:5].flatten(0, 1), sincos_positions(5, 4, 16))
    assert torch.equal(table[0, :, :8], table[5, :, :8])
    assert torch.equal(table[:, 0, 8:], table[:, 3, 8:])
    assert table[3, 2, 0] == pytest.approx(torch.sin(torch.tensor(2.0)).item())
    assert table[3, 2, 12] == pytest.approx(torch.cos(torch.tensor(3.0)).item())
    with pytest.raises(ValueError, match="embed_dim: found 30, expected a multiple of 4"):
        sincos_positions(4, 4, 30)
