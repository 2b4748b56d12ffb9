"""EAT as an encoder of X-ARES (Benchmarking Audio Encoders on Real-world Tasks, 2025).

pip install xares
EAT_CHECKPOINT=... python -m xares.run --max-jobs 1 examples/xares_eat.py src/tasks/*.py
"""

import os
from typing import Optional

import torch
from torch import Tensor, nn

import eat


class EatEncoder(nn.Module):
    """Patches averaged over frequency; X-ARES makes it without arguments."""

    def __init__(self, checkpoint: Optional[str] = None) -> None:
        super().__init__()
        self.encoder = eat.load_encoder(checkpoint or os.environ["EAT_CHECKPOINT"])
        self.output_dim = self.encoder.config.embed_dim
        self.sampling_rate = 16_000
        self.hop_size_in_ms = 160

    def forward(self, audio: Tensor) -> Tensor:
        """(B, S) or (S,) sound at 16 kHz -> (B, H, D)."""
        clips = list(torch.atleast_2d(audio).cpu())
        return torch.stack(eat.extract_features(clips, self.encoder, "time")).to(audio.device)
