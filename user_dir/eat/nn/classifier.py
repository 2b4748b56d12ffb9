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
CLIP_POOLINGS = ("cls", "mean")  # of heads that score whole clips
POOLINGS = (*CLIP_POOLINGS, "time")
ACTIVATIONS = ("sigmoid", "softmax")


@dataclass
class ClassifierConfig:
    """The head that a classifier adds to an encoder."""

    num_classes: int = setting("C, classes (AudioSet: 527)", 527)
    pooling: str = setting(
        "input of the head: cls token (paper); mean of the patches; or time: the patches of each"
        " row side by side, for scores over time",
        "cls",
    )
    use_fc_norm: bool = setting("LayerNorm before the linear head; ESP-AVES2's have none", True)
    steps_per_row: int = setting(
        "scores that the head gives for each row of patches (160 ms) with pooling time, in order", 1
    )


class Classifier(nn.Module):
    """Encoder output -> LayerNorm -> linear head (EAT section 3.4; released `use_fc_norm`).

    With `pooling="time"` the head scores every step of time; else clips as wholes.

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
        self.encoder = encoder
        self._check()
        self.log_mel = LogMel(
            num_mel_bins=encoder.config.num_mel_bins, patch_size=encoder.config.patch_size
        )
        embed_dim = encoder.config.embed_dim
        self.fc_norm = nn.LayerNorm(embed_dim, _NORM_EPS) if config.use_fc_norm else nn.Identity()
        # Over time the patches of a row stay apart: a mean would hide from the head what is high.
        columns = encoder.config.num_columns if config.pooling == "time" else 1
        self.head = nn.Linear(columns * embed_dim, config.num_classes * config.steps_per_row)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, source: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """(B, 1, T, F) normalised log-mel -> (B, C) logits; `lengths` as in `Encoder.forward`.

        With `pooling="time"` they are (B, H * steps_per_row, C), in the order of time.
        """
        return self.classify(self.encoder(source, lengths), lengths)

    def classify(self, tokens: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """The logits of the encoder's output (B, 1+L, D), as `forward` returns them."""
        if self.config.pooling == "time":
            rows = self.fc_norm(tokens[:, 1:]).unflatten(1, (-1, self.encoder.config.num_columns))
            logits = self.head(rows.flatten(2))
            return logits.unflatten(2, (-1, self.config.num_classes)).flatten(1, 2)
        valid = None
        if lengths is not None:
            lengths = torch.as_tensor(lengths, device=tokens.device)
            valid = self.encoder.valid_patches(lengths, tokens.shape[1] - 1)
        return self.head(self.fc_norm(pool_for_head(tokens, self.config.pooling, valid)))

    @property
    def step_seconds(self) -> float:
        """The time between two scores of `pooling="time"`, in seconds of the recording."""
        return self.log_mel.step_seconds / self.config.steps_per_row

    def _check(self) -> None:
        count, pooling, activation = self.config.num_classes, self.config.pooling, self.activation
        if count < 1:
            raise ValueError(f"num_classes: found {count}, expected 1 or more")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: found {pooling!r}, expected one of {POOLINGS}")
        steps = self.config.steps_per_row
        if not 1 <= steps <= (self.encoder.config.patch_size if pooling == "time" else 1):
            raise ValueError(
                f"steps_per_row: found {steps} with pooling {pooling!r}, expected 1, or with time"
                " up to the frames of a patch"
            )
        if activation not in (None, *ACTIVATIONS):
            raise ValueError(f"activation: found {activation!r}, expected one of {ACTIVATIONS}")
        if self.labels is not None and len(self.labels) != count:
            raise ValueError(f"labels: found {len(self.labels)}, expected num_classes {count}")


def ranking_scores(logits: Tensor, activation: Optional[str]) -> Tensor:
    """(B, C) logits -> (B, C) scores that rank as the probabilities do, but never saturate."""
    return logits.log_softmax(dim=1) if activation == "softmax" else logits
