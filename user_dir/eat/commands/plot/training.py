"""The settings of training that the actions of `eat plot` draw: a checkpoint's, or given ones."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Tuple

from ..arguments import number, whole_number

if TYPE_CHECKING:
    from eat.audio import LogMel
    from eat.nn import MaskingConfig


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the settings come from, and those of masks but for the size of the blocks."""
    parser.add_argument(
        "--checkpoint",
        help="a pre-training checkpoint whose settings to take (default: those of pretrain_base)",
    )
    parser.add_argument(
        "--mask-ratio", type=number(0, 1), help="share of the patches that are hidden"
    )
    parser.add_argument(
        "--mask-ratio-adjust",
        type=number(0, 1),
        help="added to the visible share when counting blocks",
    )


BLOCK_SIZE = {"type": whole_number(1), "metavar": "PATCHES", "help": "side of a visible block"}


def read_training_settings(args: argparse.Namespace) -> "Tuple[MaskingConfig, LogMel]":
    """How clips are masked, and a front end that leaves log-mel values as they are.

    Without a checkpoint the front end keeps the length of clips.

    Raises:
        FileNotFoundError, CheckpointError: as for `load_checkpoint`.
        ValueError: the checkpoint does not say how its clips were masked.
    """
    from eat.audio import LogMel
    from eat.checkpoint import load_checkpoint
    from eat.nn import MaskingConfig

    masking, log_mel = MaskingConfig(), LogMel(mean=0.0, std=0.5, target_length=None)
    if args.checkpoint is not None:
        checkpoint = load_checkpoint(args.checkpoint)
        if checkpoint.masking_config is None:
            raise ValueError(
                f"{args.checkpoint}: found a {checkpoint.kind} checkpoint without settings of"
                " masks, expected a pre-training checkpoint"
            )
        masking, encoder = checkpoint.masking_config, checkpoint.encoder_config
        log_mel = replace(
            log_mel,
            target_length=checkpoint.log_mel.target_length if checkpoint.log_mel else None,
            num_mel_bins=encoder.num_mel_bins,
            patch_size=encoder.patch_size,
        )
    given = {
        name: getattr(args, name)
        for name in ("mask_ratio", "mask_ratio_adjust")
        if getattr(args, name) is not None
    }
    return replace(masking, **given), log_mel
