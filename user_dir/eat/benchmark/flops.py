"""Floating-point operations of a training step: those of matrix products, two per multiply-add."""

from typing import Any, NamedTuple

from eat.nn.masking import num_visible_patches


class StepFlops(NamedTuple):
    """Operations of the forward passes."""

    student: float  # of one clone
    decoder: float  # of one clone
    teacher: float  # of one clip

    def step(self, num_clips: int, num_clones: int) -> float:
        """Forward and backward; the backward pass takes two products for each of the forward's.

        The teacher has no backward pass. What is computed twice to save memory does not count.
        """
        clone = 3 * (self.student + self.decoder)
        return num_clips * (num_clones * clone + self.teacher)


def count_flops(model: Any, num_frames: int) -> StepFlops:
    """Count the operations of EAT on clips of `num_frames`.

    Args:
        model: an object with the settings of the config's section `model`.
        num_frames: T, a multiple of the patch size.
    """
    num_patches = num_frames // model.patch_size * (model.num_mel_bins // model.patch_size)
    num_visible = num_visible_patches(model, num_patches)
    width = model.embed_dim
    convolution = num_patches * width * width // model.decoder_groups * model.decoder_kernel_size**2
    projection = (num_patches - num_visible) * width**2  # of the hidden patches alone
    return StepFlops(
        student=encoder_flops(model, 1 + num_visible),
        decoder=2 * (model.decoder_depth * convolution + projection),
        teacher=encoder_flops(model, 1 + num_patches)
        + 2 * num_patches * width * model.patch_size**2,
    )


def encoder_flops(model: Any, num_tokens: int) -> float:
    """Operations of the blocks on one row of tokens."""
    width = model.embed_dim
    linear = num_tokens * width**2 * (4 + 2 * model.mlp_ratio)  # qkv and proj, fc1 and fc2
    attention = 2 * num_tokens**2 * width  # scores, and what they weight
    return 2 * model.depth * (linear + attention)
