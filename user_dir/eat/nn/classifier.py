"""The classifier that fine-tuning trains: encoder, LayerNorm and linear head."""

from dataclasses import dataclass
from typing import List, Optional

import torch
from torch import Tensor, nn

from eat.audio import LogMel
from eat.settings import setting

from .encoder import Encoder
from .patches import pool_for_head

_NORM_EPS = 1e-6
POOLINGS = ("cls", "mean")
ACTIVATIONS = ("sigmoid", "softmax")


@dataclass
class ClassifierConfig:
    """The head that a classifier adds to an encoder."""

    num_classes: int = setting("C, classes (AudioSet: 527)", 527)
    pooling: str = setting("input of the head: cls token (paper) or mean of the patches", "cls")
    use_fc_norm: bool = setting("LayerNorm before the linear head; ESP-AVES2's have none", True)


class Classifier(nn.Module):
    """Encoder output -> LayerNorm -> linear head (EAT section 3.4; released `use_fc_norm`).

    Attributes:
        labels: the names of the classes in the order of the logits; None if unknown.
        activation: turns logits into probabilities: "sigmoid" (any number of classes at once) or
            "softmax" (exactly one); None if unknown.
        log_mel: the front end that the head was trained with, `target_length` included.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        encoder: Encoder,
        labels: Optional[List[str]] = None,
        activation: Optional[str] = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.labels = labels
        self.activation = activation
        self._check()
        self.encoder = encoder
        self.log_mel = LogMel(
            num_mel_bins=encoder.config.num_mel_bins, patch_size=encoder.config.patch_size
        )
        embed_dim = encoder.config.embed_dim
        norm = nn.LayerNorm(embed_dim, eps=_NORM_EPS)
        self.fc_norm = norm if config.use_fc_norm else nn.Identity()
        self.head = nn.Linear(embed_dim, config.num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, source: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """(B, 1, T, F) normalised log-mel -> (B, C) logits; `lengths` as in `Encoder.forward`."""
        return self.classify(self.encoder(source, lengths), lengths)

    def classify(self, tokens: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """The encoder's output (B, 1+L, D) -> (B, C) logits."""
        valid = None
        if lengths is not None:
            lengths = torch.as_tensor(lengths, device=tokens.device)
            valid = self.encoder.valid_patches(lengths, tokens.shape[1] - 1)
        return self.head(self.fc_norm(pool_for_head(tokens, self.config.pooling, valid)))

    def _check(self) -> None:
        count, pooling, activation = self.config.num_classes, self.config.pooling, self.activation
        if count < 1:
            raise ValueError(f"num_classes: found {count}, expected 1 or more")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: found {pooling!r}, expected one of {POOLINGS}")
        if activation not in (None, *ACTIVATIONS):
            raise ValueError(f"activation: found {activation!r}, expected one of {ACTIVATIONS}")
        if self.labels is not None and len(self.labels) != count:
            raise ValueError(f"labels: found {len(self.labels)}, expected num_classes {count}")


def ranking_scores(logits: Tensor, activation: Optional[str]) -> Tensor:
    """(B, C) logits -> (B, C) scores that rank as the probabilities do, but never saturate."""
    return logits.log_softmax(dim=1) if activation == "softmax" else logits
