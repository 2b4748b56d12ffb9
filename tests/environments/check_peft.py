"""Train adapters of peft on every layer of an `eat.Encoder`. Run by tests/nn/test_tools.py."""

import peft
import torch

from eat.nn import Encoder, EncoderConfig

SOURCE = torch.randn(2, 1, 64, 128, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[[3, 0], [31, 5]], [[7, 1], [2, 9]]])


def check(targets, num_adapters):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=32, depth=3, num_heads=4, num_position_rows=4))
    settings = {"r": 2, "target_modules": targets, "init_lora_weights": False}
    model = peft.get_peft_model(encoder, peft.LoraConfig(**settings))
    out = model(SOURCE)
    (out * torch.randn(out.shape)).sum().backward()
    adapters = [value for value in model.parameters() if value.requires_grad]
    assert len(adapters) == 2 * num_adapters, len(adapters)
    assert all(value.grad is not None and value.grad.any() for value in adapters)
    with torch.no_grad():
        adapted, visible = model(SOURCE), encoder.embed_visible(SOURCE, IDS)
        merged = model.merge_and_unload()
        assert isinstance(merged, Encoder)
        assert (merged(SOURCE) - adapted).abs().max() < 1e-4
        assert (merged.embed_visible(SOURCE, IDS) - visible).abs().max() < 1e-4


if __name__ == "__main__":
    check(["qkv", "proj"], 7)  # proj is that of the patches, too
    check(["qkv", "proj", "fc1", "fc2"], 13)
    check(["fc2"], 3)
    print(f"peft {peft.__version__}: every adapter is trained")
