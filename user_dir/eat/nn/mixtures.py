"""Mixtures of two clips, and the targets of their sources (SSLAM, arXiv 2506.12222, stage 2).

Each clip is mixed with the one before it in its batch. The student sees the mixture; the teacher
sees it, too, and each of the two sources by itself. The draws are of torch's generator, which
fairseq seeds for every update.
"""

from dataclasses import dataclass
from typing import Tuple

import torch
from torch import Tensor

from eat.settings import setting

_NUM_UNMIXED_REGIONS = 2  # released code


@dataclass
class MixturesConfig:
    """Whether and how clips are mixed."""

    mixtures: bool = setting(
        "also train on a mixture of each clip with another one of its batch, in as many masked"
        " clones again, with the mean of both clips' targets as a further target (SSLAM)",
        False,
    )
    unmixed_ratio: float = setting(
        "share of a mixture's time in which the clip stays alone, in two regions (SSLAM: 0.469)",
        0.469,
    )


def check_mixtures(config: MixturesConfig) -> None:
    """Raise a ValueError if the settings are impossible."""
    if not 0 <= config.unmixed_ratio < 1:
        raise ValueError(
            f"unmixed_ratio: found {config.unmixed_ratio}, expected a number from 0 to below 1"
        )


def partners(x: Tensor) -> Tensor:
    """What each clip is mixed with: the rows of (B, ...), each moved on by one."""
    return x.roll(1, dims=0)


def draw_mixed_rows(config: MixturesConfig, num_rows: int) -> Tensor:
    """The rows of the patch grid in which both clips sound: (H,) bool on the CPU.

    The unmixed regions are equally long, anywhere, and do not overlap; at least one row is mixed.
    """
    share = config.unmixed_ratio / _NUM_UNMIXED_REGIONS
    length = min(round(num_rows * share), (num_rows - 1) // _NUM_UNMIXED_REGIONS)
    free = num_rows - _NUM_UNMIXED_REGIONS * length
    starts = torch.randint(free + 1, (_NUM_UNMIXED_REGIONS,)).sort().values
    is_mixed = torch.ones(num_rows, dtype=torch.bool)
    for number, start in enumerate(starts.tolist()):
        is_mixed[start + number * length :][:length] = False
    return is_mixed


def mix_partners(config: MixturesConfig, source: Tensor, patch_size: int) -> Tuple[Tensor, Tensor]:
    """Mix each clip with its partner, partly.

    In the mixed rows each cell is the louder of both clips'. Frames that are the same in all mel
    bins are padding or digital silence: there the other clip stays as it is, though padding may be
    a larger number.

    Args:
        config: how much is mixed.
        source: (B, 1, T, F) normalised log-mel.
        patch_size: P, of the grid of (H, W) patches.

    Returns:
        The mixtures, as `source`, and (N,) int64, the patches of the mixed rows, for all clips.
    """
    is_mixed = draw_mixed_rows(config, source.shape[2] // patch_size)
    in_frames = is_mixed.repeat_interleave(patch_size).unsqueeze(1).to(source.device)
    is_empty = (source == source[..., :1]).all(dim=-1, keepdim=True)
    sound = source.masked_fill(is_empty, -torch.inf)
    louder = torch.maximum(sound, partners(sound))
    mixtures = torch.where(in_frames & (louder > -torch.inf), louder, source)
    patches = is_mixed.repeat_interleave(source.shape[3] // patch_size)
    return mixtures, patches.nonzero().squeeze(1).to(source.device)


def mean_of_sources(targets: Tensor, mixed_targets: Tensor, mixed_ids: Tensor) -> Tensor:
    """What the student is to keep of both sources of a mixture, for every patch.

    Args:
        targets: (B, L, D), of the clips.
        mixed_targets: (B, N, D), of the clips when the teacher sees no other patches than these.
        mixed_ids: (N,) int64, the mixed patches.

    Returns:
        (B, L, D): the mean of a clip's targets and its partner's where both sound, else its own.
    """
    means = (targets[:, mixed_ids] + partners(mixed_targets)) / 2
    return targets.index_copy(1, mixed_ids, means)
