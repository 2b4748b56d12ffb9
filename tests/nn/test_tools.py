"""Tools hook, wrap and replace layers: every layer is called as a module, or computes the same.

tests/environments/check_peft.py does with the real `peft` what `Adapter` does here.
"""

import warnings
from contextlib import nullcontext

import pytest
import torch
from environments.target import run_with
from torch import nn
from torch.nn.utils import parametrize, prune

from eat.nn import Decoder, DecoderConfig, Encoder, EncoderConfig, pack_linears
from eat.nn.gradients import PackedLinear, _can_pack
from eat.nn.masking import select_patches
from eat.nn.transformer import Mlp

SMALL = EncoderConfig(embed_dim=32, depth=2, num_heads=4, num_position_rows=4)


class Adapter(nn.Module):
    """A layer and what is trained beside it, without the attributes of the layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        layer.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.layer(x) * self.scale


class Subclass(nn.Linear):
    pass


class SubclassParameter(nn.Parameter):
    pass


def nothing(*args):
    """A hook that changes nothing."""


def for_all_modules(layer):
    return nn.modules.module.register_module_forward_hook(nothing)


# What tools do to a layer, without changing what it computes.
CHANGES = {
    "hook": lambda layer: layer.register_forward_hook(nothing),
    "pre-hook": lambda layer: layer.register_forward_pre_hook(nothing),
    "gradient hook": lambda layer: layer.register_full_backward_hook(nothing),
    "gradient pre-hook": lambda layer: layer.register_full_backward_pre_hook(nothing),
    "global hook": for_all_modules,
    "method": lambda layer: setattr(layer, "forward", layer.forward),
    "compiled": lambda layer: setattr(layer, "_compiled_call_impl", layer.forward),
    "pruned": lambda layer: prune.identity(layer, "weight"),
    "parametrized": lambda layer: parametrize.register_parametrization(
        layer, "weight", nn.Identity()
    ),
    "class": lambda layer: setattr(layer, "__class__", Subclass),
    "weight": lambda layer: setattr(layer, "weight", SubclassParameter(layer.weight.data)),
    "frozen": lambda layer: layer.requires_grad_(False),
}


def train_mlp(mlp):
    """The output, its gradients, and whether fc2's was written by hand."""
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = mlp(x)
    grads = torch.autograd.grad(out.square().sum(), [x, *mlp.fc1.parameters()])
    return out, grads, "GeluLinearByHand" in type(out.grad_fn).__name__


@pytest.mark.parametrize("name", CHANGES)
def test_the_fast_path_is_for_layers_that_nobody_changed(name):
    torch.manual_seed(0)
    mlp = Mlp(16, 32)
    expected, expected_grads, is_fast = train_mlp(mlp)
    assert is_fast
    handle = CHANGES[name](mlp.fc2)
    with handle if name == "global hook" else nullcontext():
        out, grads, is_fast = train_mlp(mlp)
    assert not is_fast
    assert torch.equal(out, expected)
    for found, grad in zip(grads, expected_grads, strict=True):
        assert torch.allclose(found, grad, atol=1e-5)


def small_encoder():
    torch.manual_seed(0)
    return Encoder(SMALL), torch.randn(2, 1, 64, 128)


def leaves(network):
    """Every layer, by its name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.LayerNorm))
    }


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_hooks_see_every_layer(training):
    encoder, source = small_encoder()
    expected, shapes = encoder.train(training)(source), {}
    for name, layer in leaves(encoder).items():
        layer.register_forward_hook(
            lambda module, args, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    out = encoder(source)
    assert torch.allclose(out, expected, atol=1e-5)
    assert shapes.keys() == leaves(encoder).keys()
    assert shapes["patch_embed.proj"] == (2, 32, 4, 8)  # as any convolution's
    assert shapes["blocks.1.mlp.fc2"] == (2, 33, 32)
    shapes.clear()
    ids = torch.tensor([[[3, 0], [31, 5]], [[7, 1], [2, 9]]])  # 2 clips, 2 clones, 2 visible
    visible = encoder.embed_visible(source, ids)
    assert shapes.keys() == {"patch_embed.proj"}
    chosen = select_patches(encoder.embed(source), ids.flatten(1)).view(4, 2, 32)
    assert torch.allclose(visible, chosen, atol=1e-5)


@torch.no_grad()
def test_layers_are_packed_unless_somebody_changed_them():
    encoder, source = small_encoder()
    changed = encoder.blocks[0].mlp.fc2
    changed.register_forward_hook(lambda module, args, output: 2 * output)
    expected = encoder(source)
    names = {name for name, layer in encoder.named_modules() if type(layer) is nn.Linear}
    assert pack_linears(encoder) is encoder
    packed = [layer for layer in encoder.modules() if isinstance(layer, PackedLinear)]
    assert encoder.blocks[0].mlp.fc2 is changed
    assert len(packed) == (len(names) - 1 if _can_pack(changed.weight) else 0)
    assert torch.allclose(encoder(source), expected, atol=1e-5)
    shapes = []
    for layer in packed:
        layer.register_forward_hook(lambda module, args, output: shapes.append(output.shape))
    assert torch.allclose(encoder(source), expected, atol=1e-5)
    assert len(shapes) == len(packed)


def test_adapters_on_every_layer_are_all_trained():
    encoder, source = small_encoder()
    encoder.requires_grad_(False)
    expected, names = encoder(source), leaves(encoder)
    for name, layer in names.items():
        parent, _, child = name.rpartition(".")
        setattr(encoder.get_submodule(parent), child, Adapter(layer))
    out = encoder(source)
    assert torch.allclose(out, expected, atol=1e-5)
    (out * torch.randn(out.shape)).sum().backward()
    trained = {name for name, value in encoder.named_parameters() if value.grad is not None}
    assert trained == {f"{name}.scale" for name in names}
    assert all(encoder.get_parameter(name).grad for name in trained)


def test_dynamic_quantization():
    encoder, source = small_encoder()
    encoder.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: the successor is another package
        quantized = torch.ao.quantization.quantize_dynamic(encoder, {nn.Linear}, torch.qint8)
    assert "DynamicQuantizedLinear" in repr(quantized.blocks[0].mlp.fc2)
    with torch.no_grad():
        error = quantized(source) - encoder(source)
    assert 0 < error.abs().max() < 0.1


def test_a_hooked_decoder_computes_the_same():
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(decoder_depth=2, decoder_groups=4, mask_noise_std=0.0), 16)
    ids = torch.arange(8).view(1, 8)
    args = (torch.randn(1, 4, 16), ids[:, :4], ids[:, 4:], (2, 4))
    expected, called = decoder(*args), []
    for name, layer in leaves(decoder).items():
        layer.register_forward_hook(lambda *args, name=name: called.append(name))
    assert torch.allclose(decoder(*args), expected, atol=1e-6)
    assert called == ["layers.0.conv", "layers.1.conv", "proj"]


def test_gradients_of_each_clip():
    """`torch.func` differentiates formulas."""
    encoder, source = small_encoder()
    parameters = dict(encoder.named_parameters())

    def loss(parameters, clip):
        return torch.func.functional_call(encoder, parameters, clip.unsqueeze(0)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, source)
    for index in range(2):
        grads = torch.autograd.grad(loss(parameters, source[index]), [*parameters.values()])
        for name, grad in zip(parameters, grads, strict=True):
            assert torch.allclose(found[name][index], grad, atol=1e-3, rtol=1e-3), name


@pytest.mark.filterwarnings("ignore")  # sizes are constants, as this model's are
def test_a_traced_encoder_takes_other_batches():
    encoder, source = small_encoder()
    traced = torch.jit.trace(encoder, source)
    assert torch.allclose(traced(source[:1]), encoder(source[:1]), atol=1e-5)


def test_an_encoder_compiles_as_one_graph():
    encoder, source = small_encoder()
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(source), encoder(source), atol=1e-5)


@pytest.mark.slow
def test_adapters_of_peft(tmp_path):
    blocked = ("fairseq", "torchaudio", "torchvision")
    output = run_with("transformers-5.txt", "check_peft.py", tmp_path, blocked=blocked)
    assert "every adapter is trained" in output
