"""EAT as the encoder that xares-llm (X-ARES with language models, 2025) gives to a language model.

pip install git+https://github.com/xiaomi-research/xares-llm
EAT_CHECKPOINT=... python -m xares_llm.run examples/xares_llm_eat.py task1 task1
"""

import os
from typing import Any, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import eat


class EatEncoder(nn.Module):
    """Patches averaged over frequency; padding is left out and marked in the mask."""

    def __init__(self, checkpoint: Optional[str] = None, **_: Any) -> None:
        super().__init__()
        self.encoder = eat.load_encoder(checkpoint or os.environ["EAT_CHECKPOINT"])
        self.output_dim = self.encoder.config.embed_dim

    def forward(
        self, audio: Tensor, audio_attention_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """(B, S) sound at 16 kHz and (B, S) 1 at its valid samples -> (B, H, D) and (B, H)."""
        audio = torch.atleast_2d(audio).cpu()
        lengths = [audio.shape[1]] * len(audio)
        if audio_attention_mask is not None:
            lengths = audio_attention_mask.sum(dim=1).tolist()
        clips = [clip[:length] for clip, length in zip(audio, lengths, strict=True)]
        features = eat.extract_features(clips, self.encoder, "time")
        mask = [torch.ones(len(clip), dtype=torch.long) for clip in features]
        return pad_sequence(features, batch_first=True), pad_sequence(mask, batch_first=True)
