"""The part of a recording that the actions of `eat plot` show."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Optional

from ..arguments import number, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from eat.audio import LogMel

MAX_FRAMES = 1024  # 10.24 s, unless another length is asked for


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recording and which part of it to take."""
    parser.add_argument("file", metavar="FILE", help="audio file, of any format")
    parser.add_argument(
        "--start-seconds",
        type=number(0, float("inf")),
        default=0.0,
        help="where in the file to start (default: %(default)s)",
    )
    add_target_length_argument(parser, f"the file's own length, at most {MAX_FRAMES}")


def add_target_length_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare `--target-length`, which is None unless it is given."""
    parser.add_argument(
        "--target-length",
        type=whole_number(1),
        metavar="FRAMES",
        help="pad or crop to it as in training: frames of 10 ms, a multiple of 16"
        f" (default: {default})",
    )


def read_clip(
    file: str,
    log_mel: "LogMel",
    start_seconds: float = 0.0,
    target_length: Optional[int] = None,
) -> "Tensor":
    """The spectrogram (1, 1, T, F) of a part of a recording.

    Args:
        file: of any format.
        log_mel: the front end.
        start_seconds: where the part starts.
        target_length: frames to pad or crop to; None: the front end's, or the file's own length.

    Raises:
        FileNotFoundError, AudioError: as for `FileRecording`.
        ValueError: a start beyond the end, or a length that is no multiple of the patch size.
    """
    import torch

    from eat.audio import SAMPLE_RATE_HZ
    from eat.audio.log_mel import WINDOW_SAMPLES, num_samples_for
    from eat.features.recordings import FileRecording

    if target_length is not None:
        log_mel = replace(log_mel, target_length=target_length)
    recording = FileRecording(file)
    offset_samples = round(start_seconds * SAMPLE_RATE_HZ)
    rest_samples = recording.num_samples - offset_samples
    if rest_samples < WINDOW_SAMPLES:
        raise ValueError(
            f"--start-seconds: found {start_seconds:g} in a file of"
            f" {recording.num_samples / SAMPLE_RATE_HZ:.2f} s, expected an earlier start"
        )
    most_samples = num_samples_for(log_mel.target_length or MAX_FRAMES)
    samples = recording.read(offset_samples, min(rest_samples, most_samples))
    return log_mel(torch.from_numpy(samples))


def name_clip(args: argparse.Namespace) -> str:
    """What to call the part in a figure."""
    return args.file if args.start_seconds == 0 else f"{args.file} from {args.start_seconds:g} s"
