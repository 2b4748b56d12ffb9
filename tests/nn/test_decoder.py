import pytest
import torch

from eat.nn import Decoder, DecoderConfig
from eat.nn.decoder import _convolve_widened, convolve_grid


def hidden_half(num_rows, num_patches):
    """Visible and hidden places: the odd and the even ones."""
    places = torch.arange(num_patches).expand(num_rows, -1)
    return places[:, 1::2], places[:, ::2]


def grid_of_a_decoder(noise_std, embed_dim):
    """With no layers and an identity projection, the decoder returns what it put on the grid."""
    config = DecoderConfig(decoder_depth=0, mask_noise_std=noise_std, decoder_groups=1)
    decoder = Decoder(config, embed_dim)
    torch.nn.init.eye_(decoder.proj.weight)
    torch.nn.init.zeros_(decoder.proj.bias)
    return decoder


def test_visible_patches_keep_their_places_and_hidden_ones_hold_noise():
    decoder = grid_of_a_decoder(0.0, 8)
    visible, hidden = hidden_half(3, 16)
    patches = torch.randn(3, 8, 8)
    assert torch.equal(decoder(patches, visible, hidden, (8, 2)), torch.zeros(3 * 8, 8))
    shown = decoder(patches, visible, visible, (8, 2))
    assert torch.equal(shown, patches.flatten(0, 1))
    torch.manual_seed(0)
    visible, hidden = hidden_half(4, 128)
    noise = grid_of_a_decoder(0.01, 64)(torch.randn(4, 64, 64), visible, hidden, (16, 8))
    assert noise.std().item() == pytest.approx(0.01, rel=0.05)


def test_predictions_depend_on_neighbours_only():
    torch.manual_seed(0)
    config = DecoderConfig(decoder_depth=1, mask_noise_std=0.0, decoder_groups=2)
    decoder = Decoder(config, 8)
    visible, hidden = hidden_half(1, 64)  # a grid of 8 x 8, odd columns visible
    patches = torch.randn(1, 32, 8, requires_grad=True)
    prediction = decoder(patches, visible, hidden, (8, 8))
    (gradient,) = torch.autograd.grad(prediction[0].sum(), patches)
    touched = visible[0][gradient[0].abs().sum(dim=1) > 0].tolist()
    assert touched == [1, 9]  # of patch (0, 0): its neighbours (0, 1) and (1, 1)


@pytest.mark.parametrize(
    "depth, kernel, dim, count", [(6, 3, 768, 2_585_856), (3, 5, 1024, 5_967_872)]
)
def test_parameter_counts_of_the_recipe(depth, kernel, dim, count):
    decoder = Decoder(DecoderConfig(decoder_depth=depth, decoder_kernel_size=kernel), dim)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == count


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"decoder_kernel_size": 4}, "decoder_kernel_size: found 4, expected an odd number"),
        ({"decoder_kernel_size": -1}, "decoder_kernel_size: found -1, expected an odd number"),
        ({"decoder_groups": 5}, "decoder_groups: found 5, expected a divisor of embed_dim 48"),
    ],
)
def test_impossible_sizes(settings, message):
    with pytest.raises(ValueError, match=message):
        Decoder(DecoderConfig(**settings), 48)


def test_zeros_beside_the_channels_change_nothing():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(24, 24, kernel_size=3, padding=1, groups=4).double()
    x = torch.randn(2, 5, 8, 24, dtype=torch.float64, requires_grad=True)
    outputs = [convolve_grid(conv, x), _convolve_widened(conv, x, spare=2)]
    expected = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    inputs = (x, conv.weight, conv.bias)
    gradients = torch.autograd.grad(expected.square().sum(), inputs)
    for output in outputs:
        assert torch.allclose(output, expected)
        found = torch.autograd.grad(output.square().sum(), inputs)
        assert all(torch.allclose(f, g) for f, g in zip(found, gradients, strict=True))
