"""A checkpoint in every other layout, and back.

python examples/convert_checkpoint.py CHECKPOINT OUTPUT_FOLDER
"""

import sys
from pathlib import Path

import torch

import eat
from eat.checkpoint import load_checkpoint


def main(source: str, folder: str) -> None:
    checkpoint = load_checkpoint(source)  # any layout, detected by content
    print(f"{source}: a {checkpoint.kind} checkpoint")
    print(f"  encoder: {len(checkpoint.encoder)} tensors, {checkpoint.encoder_config}")
    print(f"  teacher: {'yes' if checkpoint.teacher else 'no'}, labels: {checkpoint.labels}")

    outputs = {"eat": "ours.pt", "official": "official.pt"}
    outputs.update({"safetensors": "encoder.safetensors", "huggingface": "huggingface"})
    source_tokens = eat.load_encoder(source)(torch.zeros(1, 1, 128, 128))
    for layout, name in outputs.items():
        path = Path(folder) / name
        eat.convert_checkpoint(source, path, to=layout, force=True)
        tokens = eat.load_encoder(path)(torch.zeros(1, 1, 128, 128))  # (1, 1+L, D)
        same = torch.equal(tokens, source_tokens)
        print(f"{path}: features {tuple(tokens.shape)}, {'identical' if same else 'different'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
