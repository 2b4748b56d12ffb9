"""`eat stats`: the mean and standard deviation that a config needs."""

import argparse
import json
import math
import os
import sys
from functools import partial
from typing import List, NamedTuple, Optional, Union

import numpy as np

from eat.data.manifest import Manifest
from eat.data.sampling import draw_clips
from eat.work import map_in_threads

from .arguments import add_hdf5_argument, number, whole_number

HELP = "mean and standard deviation of a manifest's log-mel values, for the config"

DESCRIPTION = """\
Measure the mean and standard deviation of the log-mel values of a manifest's clips, and the
lengths of the clips. The network's input is (x - mean) / (2 std). Every value of every real frame
counts once; padding is not included. The values in the released configs are older: those that AST
and Audio-MAE published for AudioSet, ESC-50 and Speech Commands (-4.268 and 4.569 for AudioSet),
measured with other loaders. To continue from a released checkpoint, keep the values it was
trained with; to train from scratch, take your own.
"""

TARGET_LENGTH_STEP = 16  # frames: the side of a patch
MAX_TARGET_LENGTH = 1024  # frames: that of the released models, 10.24 s
MIN_STD = 1e-6  # what rounding leaves of a constant


class Moments(NamedTuple):
    """Number, mean and sum of squared deviations from the mean of some values."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets of values together (Chan et al. 1983), without cancellation."""
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        squares = self.squares + other.squares + delta**2 * self.count * other.count / count
        return Moments(count, mean, squares)

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / self.count)


class ClipStatistics(NamedTuple):
    """What one clip adds."""

    moments: Moments
    num_frames: int  # of the whole clip, by the manifest
    seconds_read: float


class Failure(NamedTuple):
    """A clip that cannot be used: its file, its line in the manifest, and why."""

    path: str
    location: str
    reason: str


class Statistics(NamedTuple):
    """What the clips of a manifest are like."""

    mean: float
    std: float
    num_frames: np.ndarray  # (clips,) int64, lengths of the whole clips
    hours_read: float
    failures: List[Failure]

    @property
    def target_length(self) -> int:
        """Frames that hold 95 % of the clips in full, as `task.target_length` wants them."""
        frames = np.percentile(self.num_frames, 95)
        length = math.ceil(frames / TARGET_LENGTH_STEP) * TARGET_LENGTH_STEP
        return min(max(length, TARGET_LENGTH_STEP), MAX_TARGET_LENGTH)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat stats`."""
    parser.description = DESCRIPTION
    parser.add_argument("manifest", metavar="MANIFEST", help="e.g. manifests/mine/train.tsv")
    parser.add_argument(
        "--max-clips",
        type=whole_number(0),
        default=2000,
        help="clips to measure, drawn at random; 0 measures all (default: %(default)s)",
    )
    parser.add_argument(
        "--max-seconds",
        type=number(1, float("inf")),
        default=10.0,
        help="read no more than the first seconds of a clip (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=1, help="of the draw (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=os.cpu_count() or 1,
        help="threads (default: one per core, %(default)s)",
    )
    add_hdf5_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 if clips had to be left out."""
    manifest = Manifest(args.manifest)
    clips = draw_clips(len(manifest), args.max_clips, args.seed)
    statistics = measure(manifest, clips, args.max_seconds, args.workers, args.hdf5_rate_hz)
    print(_as_json(statistics) if args.json else _as_text(statistics, len(manifest)))
    for failure in statistics.failures:
        print(f"left out {failure.location}: {failure.reason}", file=sys.stderr)
    return 1 if statistics.failures else 0


def measure(
    manifest: Manifest,
    clips: np.ndarray,
    max_seconds: float,
    num_workers: int,
    hdf5_rate_hz: Optional[int] = None,
) -> Statistics:
    """Statistics of the clips with the given indices; the same for any number of workers.

    Raises:
        ValueError: no clip can be used, or all values are the same.
    """
    import torch

    work = partial(_measure_clip, manifest, max_seconds=max_seconds, hdf5_rate_hz=hdf5_rate_hz)
    one_thread_each = partial(torch.set_num_threads, 1)  # the workers fill the cores
    moments, hours_read, frames, failures = Moments(), 0.0, [], []
    results = map_in_threads(
        work, clips.tolist(), num_workers, "measuring", one_thread_each, _is_failure
    )
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
            continue
        moments = moments.merge(result.moments)
        hours_read += result.seconds_read / 3600
        frames.append(result.num_frames)
    if not frames:
        raise ValueError(
            f"{manifest.file}: none of {len(failures)} clips is usable; the first is"
            f" {failures[0].location}: {failures[0].reason}"
        )
    if moments.std < MIN_STD:
        raise ValueError(f"{manifest.file}: found only silence, expected sound")
    return Statistics(moments.mean, moments.std, np.array(frames), hours_read, failures)


def _is_failure(result: Union[ClipStatistics, Failure]) -> bool:
    return isinstance(result, Failure)


def _measure_clip(
    manifest: Manifest, clip: int, max_seconds: float, hdf5_rate_hz: Optional[int]
) -> Union[ClipStatistics, Failure]:
    path = manifest.path(clip)
    try:
        return _measure_file(path, manifest.clip_samples(clip), max_seconds, hdf5_rate_hz)
    except (ValueError, OSError) as error:
        return Failure(path, manifest.location(clip), str(error))


def _measure_file(
    path: str, num_samples: int, max_seconds: float, hdf5_rate_hz: Optional[int]
) -> ClipStatistics:
    import torch

    from eat.audio import (
        SAMPLE_RATE_HZ,
        AudioError,
        audio_info,
        mel_filter_bank,
        num_frames,
        read_audio,
    )
    from eat.audio.checks import check_finite

    rate_hz = audio_info(path, hdf5_rate_hz).sample_rate_hz
    max_samples = round(max_seconds * SAMPLE_RATE_HZ)
    waveform = read_audio(path, num_samples=max_samples, hdf5_rate_hz=hdf5_rate_hz)
    check_finite(waveform, path)
    values = mel_filter_bank(torch.from_numpy(waveform)).double()  # (1, T, F)
    if values.numel() == 0:
        raise AudioError(f"{path}: found {len(waveform)} samples at 16 kHz, expected at least 400")
    mean = values.mean()
    moments = Moments(values.numel(), mean.item(), (values - mean).square().sum().item())
    return ClipStatistics(
        moments,
        num_frames=num_frames(num_samples * SAMPLE_RATE_HZ // rate_hz),
        seconds_read=len(waveform) / SAMPLE_RATE_HZ,
    )


def _as_text(statistics: Statistics, num_clips: int) -> str:
    lengths = np.percentile(statistics.num_frames, [0, 50, 75, 95, 100])
    shortest, median, many, most, longest = (f"{length:.0f}" for length in lengths)
    mean, std, length = f"{statistics.mean:.3f}", f"{statistics.std:.3f}", statistics.target_length
    return f"""\
measured {len(statistics.num_frames)} of {num_clips} clips, {statistics.hours_read:.2f} hours
frames per clip (10 ms each): shortest {shortest}, median {median}, 75 % up to {many}, \
95 % up to {most}, longest {longest}

on the command line:
  task.mean={mean} task.std={std} task.target_length={length}
or in the yaml:
  task:
    mean: {mean}
    std: {std}
    target_length: {length}"""


def _as_json(statistics: Statistics) -> str:
    percentiles = (0, 5, 25, 50, 75, 95, 100)
    frames = np.percentile(statistics.num_frames, percentiles).tolist()
    return json.dumps(
        {
            "mean": statistics.mean,
            "std": statistics.std,
            "target_length": statistics.target_length,
            "num_clips": len(statistics.num_frames),
            "hours_read": statistics.hours_read,
            "frames_percentiles": dict(zip(map(str, percentiles), frames, strict=True)),
            "failures": [failure._asdict() for failure in statistics.failures],
        },
        indent=2,
    )
