"""Layers compute the same when torch compiles them, and when activations are not kept."""

import pytest
import torch
from torch import nn

from eat.models.pretraining import PretrainingModel, PretrainingModelConfig, compile_layers

SMALL = {
    **{"embed_dim": 16, "depth": 2, "num_heads": 2, "average_top_k_layers": 2},
    **{"decoder_depth": 2, "decoder_groups": 4, "num_clones": 4, "mask_noise_std": 0.0},
}


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
    return PretrainingModel(PretrainingModelConfig(**SMALL, **settings))


def assert_same_gradients(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-4), name


def test_activations_that_are_not_kept_give_the_same_gradients():
    expected = gradients(make())
    assert_same_gradients(gradients(make(checkpoint_activations=True)), expected)


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


@pytest.mark.slow
def test_a_compiled_model_has_the_same_gradients_and_names():
    model, compiled = make(), make(compile=True)
    assert list(compiled.state_dict()) == list(model.state_dict())
    assert_same_gradients(gradients(compiled), gradients(model))


def test_a_torch_that_cannot_compile_layers(monkeypatch):
    monkeypatch.delattr(nn.Module, "compile")
    with pytest.raises(ValueError, match=r"model.compile: found torch .*, expected >= 2.2"):
        compile_layers(make())
