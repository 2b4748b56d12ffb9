"""The encoder: trained by pre-training, used by everything else."""

import math
from typing import Iterator, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eat.audio import LogMel

from .gradients import call_layer, is_plain
from .masking import select_patches
from .patches import PatchEmbed, cut_patches, positions_of, sincos_positions
from .transformer import Block, EncoderConfig


class FastPatchEmbed(PatchEmbed):
    """The convolution, which does not overlap, as one product, of chosen patches if so asked."""

    def forward(self, source: Tensor, ids: Optional[Tensor] = None) -> Tensor:
        """(B, 1, T, F) -> (B, L, D); with `ids`, (B, N) int64, these patches alone: (B*N, D).

        Patches are chosen before they are projected: that is less arithmetic when few are
        visible, and saves adding up the gradients of clones that share a patch.
        """
        if not is_plain(self.proj):
            patches = super().forward(source)
            return patches if ids is None else select_patches(patches, ids)
        patches = cut_patches(source, self.patch_size)
        patches = patches if ids is None else select_patches(patches, ids)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Encoder(nn.Module):
    """Vision Transformer over spectrogram patches (EAT section 3.1).

    Patches plus positions, CLS in front, one LayerNorm, post-norm blocks, no final norm.

    Attributes:
        log_mel: the front end that the weights were trained with, without a fixed length; it has
            AudioSet's constants unless the checkpoint holds others.
        checkpoint_activations: compute the activations inside each block again for its gradient
            instead of keeping them: less memory, more time.
    """

    checkpoint_activations = False

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        _check_sizes(config)
        self.config = config
        self.log_mel = LogMel(
            target_length=None, num_mel_bins=config.num_mel_bins, patch_size=config.patch_size
        )
        self.patch_embed = FastPatchEmbed(config.patch_size, config.embed_dim)
        positions = sincos_positions(config.num_position_rows, config.num_columns, config.embed_dim)
        self.register_buffer("positions", positions)  # (768 * W, D), never trained
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.embed_dim))
        self.pre_norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.blocks.apply(init_linear)

    def forward(self, source: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """Encode whole clips.

        Args:
            source: (B, 1, T, F) normalised log-mel; T any multiple of the patch size.
            lengths: (B,) int, valid frames of each clip; the frames beyond do not change the
                outputs of the valid patches. None: all frames are valid, padding included, as in
                the released code.

        Returns:
            (B, 1+L, D), CLS first, then patches in time-major order.

        Raises:
            ValueError: `source` or `lengths` has an impossible shape or value.
        """
        for x, _ in self.layers(source, lengths):
            pass
        return x

    def layers(
        self, source: Tensor, lengths: Optional[Tensor] = None
    ) -> Iterator[Tuple[Tensor, Tensor]]:
        """Encode whole clips as `forward` does; see `run_blocks` for what is yielded."""
        self.check_source(source)
        valid = None
        if lengths is not None:
            num_frames, lengths = source.shape[2], torch.as_tensor(lengths, device=source.device)
            if lengths.shape != source.shape[:1] or lengths.min() < 1 or lengths.max() > num_frames:
                raise ValueError(
                    f"lengths: found {lengths.tolist()}, expected {source.shape[0]} numbers"
                    f" from 1 to {num_frames}"
                )
            source, valid = self.mask_padding(source, lengths)
        return self.run_blocks(self.embed(source), valid)

    def embed(self, source: Tensor) -> Tensor:
        """(B, 1, T, F) -> (B, L, D), patches with their positions."""
        patches = self.patch_embed(source)
        return patches + self.positions_for(patches.shape[1]).to(patches.dtype)

    def embed_visible(self, source: Tensor, ids: Tensor) -> Tensor:
        """Embed the patches that each clone sees: (B, 1, T, F), (B, K, V) int64 -> (B*K, V, D)."""
        patches = self.patch_embed(source, ids.flatten(1))
        positions = self.positions_for(math.prod(self.grid(source.shape[2])))
        patches = patches + positions.index_select(0, ids.flatten()).to(patches.dtype)
        return patches.view(-1, ids.shape[2], patches.shape[1])

    def run_blocks(
        self, patches: Tensor, valid: Optional[Tensor] = None
    ) -> Iterator[Tuple[Tensor, Tensor]]:
        """Run embedded patches (N, V, D), all or the visible ones, through the blocks.

        `valid` (N, 1+V) is that of `Attention`. Yields after each block its output and its MLP
        branch, both (N, 1+V, D).
        """
        cls_tokens = self.cls_token.expand(patches.shape[0], -1, -1)
        x = self.pre_norm(torch.cat([cls_tokens, patches], dim=1))
        for block in self.blocks:
            x, mlp_output = call_layer(block, x, valid, checkpoint=self.checkpoint_activations)
            yield x, mlp_output

    def set_drop_path(self, rate: float) -> None:
        """Set the blocks' drop path rates, linearly from 0 to `rate` as in the released code."""
        if not 0 <= rate < 1:
            raise ValueError(f"model.drop_path: found {rate}, expected a number from 0 to below 1")
        for block, own in zip(self.blocks, np.linspace(0, rate, len(self.blocks)), strict=True):
            block.drop_path_rate = float(own)

    def positions_for(self, num_patches: int) -> Tensor:
        """(L, D) positions of the first patches; those beyond the stored table are computed."""
        return positions_of(self.positions, num_patches, self.config.num_columns)

    def grid(self, num_frames: int) -> Tuple[int, int]:
        """(H, W), the patch grid of `num_frames` frames."""
        return num_frames // self.config.patch_size, self.config.num_columns

    def valid_patches(self, lengths: Tensor, num_patches: int) -> Tensor:
        """Which patches hold at least one valid frame: (B,) frames -> (B, L) bool."""
        rows = torch.arange(num_patches, device=lengths.device) // self.config.num_columns
        return rows * self.config.patch_size < lengths.unsqueeze(1)

    def check_source(self, source: Tensor) -> None:
        """Raise a ValueError unless `source` is (B, 1, T, F) with T a multiple of P."""
        shape, bins, size = tuple(source.shape), self.config.num_mel_bins, self.config.patch_size
        if len(shape) != 4 or shape[1] != 1 or shape[3] != bins:
            raise ValueError(f"source: found shape {shape}, expected (B, 1, T, {bins})")
        if shape[0] == 0:
            raise ValueError("source: found no clips, expected one or more")
        if shape[2] == 0 or shape[2] % size:
            raise ValueError(
                f"source: found {shape[2]} frames, expected a positive multiple of {size}"
            )

    def mask_padding(self, source: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """Zero the frames beyond `lengths`; also return which tokens are valid, (B, 1+L)."""
        num_frames = source.shape[2]
        padding = torch.arange(num_frames, device=source.device) >= lengths.unsqueeze(1)  # (B, T)
        source = source.masked_fill(padding[:, None, :, None], 0.0)
        patches = self.valid_patches(lengths, math.prod(self.grid(num_frames)))
        return source, F.pad(patches, (1, 0), value=True)  # CLS is always valid


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as BERT does: weights N(0, 0.02), biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _check_sizes(config: EncoderConfig) -> None:
    for name in ("embed_dim", "depth", "num_heads", "patch_size", "num_mel_bins"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: found {getattr(config, name)}, expected 1 or more")
    heads, width = config.num_heads, config.embed_dim
    if width % heads:
        raise ValueError(f"num_heads: found {heads}, expected a divisor of embed_dim {width}")
    if not width * config.mlp_ratio >= 1:
        raise ValueError(f"mlp_ratio: found {config.mlp_ratio}, expected at least 1 / embed_dim")
    bins, size = config.num_mel_bins, config.patch_size
    if bins % size:
        raise ValueError(f"num_mel_bins: found {bins}, expected a multiple of patch_size {size}")
