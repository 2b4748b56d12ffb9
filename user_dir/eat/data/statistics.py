"""Mean and standard deviation of a manifest's log-mel values, and the lengths of its clips."""

import math
import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional, Union

import numpy as np

from eat.work import Failure, is_failure, map_in_threads

from .manifest import Manifest
from .sampling import draw_clips

TARGET_LENGTH_STEP = 16  # frames: the side of a patch
MAX_TARGET_LENGTH = 1024  # frames: 10.24 s, as in the released models
MIN_STD = 1e-6  # rounding errors of a constant stay below
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


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


class _ClipStatistics(NamedTuple):
    moments: Moments
    num_frames: int  # of the whole clip, by the manifest
    seconds_read: float


@dataclass
class Statistics:
    """Statistics of the clips of a manifest."""

    mean: float
    std: float
    num_frames: np.ndarray  # (clips,) int64, lengths of the whole clips, in frames of 10 ms
    hours_read: float
    failures: List[Failure]

    @property
    def target_length(self) -> int:
        """Frames that hold 95 % of the clips in full, as the setting `task.target_length`."""
        frames = np.percentile(self.num_frames, 95)
        length = math.ceil(frames / TARGET_LENGTH_STEP) * TARGET_LENGTH_STEP
        return min(max(length, TARGET_LENGTH_STEP), MAX_TARGET_LENGTH)

    def as_dict(self) -> Dict[str, Any]:
        """What `eat stats --json` prints."""
        frames = np.percentile(self.num_frames, PERCENTILES).tolist()
        return {
            "mean": self.mean,
            "std": self.std,
            "target_length": self.target_length,
            "num_clips": len(self.num_frames),
            "hours_read": self.hours_read,
            "frames_percentiles": dict(zip(map(str, PERCENTILES), frames, strict=True)),
            "failures": [failure._asdict() for failure in self.failures],
        }


def measure_statistics(
    manifest: str,
    max_clips: int = 2000,
    max_seconds: float = 10.0,
    seed: int = 1,
    num_workers: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
) -> Statistics:
    """Measure mean and standard deviation of the log-mel values of a manifest's clips.

    Every value of every real frame counts once; padding does not count. The result is the same for
    any number of workers.

    Args:
        manifest: the file.
        max_clips: how many clips to draw at random; 0 measures all.
        max_seconds: how much to read of a clip, from its start.
        seed: of the draw.
        num_workers: threads; None: one per core.
        hdf5_rate_hz: rate of HDF5 data that has no attribute `sample_rate`.

    Raises:
        FileNotFoundError, ManifestError: no manifest, or a bad one.
        ValueError: no clip can be used, or all values are the same.
    """
    import torch

    listed = Manifest(manifest)
    clips = draw_clips(len(listed), max_clips, seed).tolist()
    measure = partial(_measure_clip, listed, max_seconds=max_seconds, hdf5_rate_hz=hdf5_rate_hz)
    one_thread_each = partial(torch.set_num_threads, 1)  # the workers fill the cores
    num_workers = num_workers or os.cpu_count() or 1
    moments, hours_read, frames, failures = Moments(), 0.0, [], []
    for result in map_in_threads(measure, clips, num_workers, "measuring", one_thread_each):
        if is_failure(result):
            failures.append(result)
            continue
        moments = moments.merge(result.moments)
        hours_read += result.seconds_read / 3600
        frames.append(result.num_frames)
    if not frames:
        path, reason = failures[0]
        raise ValueError(
            f"{listed.file}: none of {len(failures)} clips is usable; the first is {path}: {reason}"
        )
    if moments.std < MIN_STD:
        raise ValueError(f"{listed.file}: found only silence, expected sound")
    return Statistics(moments.mean, moments.std, np.array(frames), hours_read, failures)


def _measure_clip(
    manifest: Manifest, clip: int, max_seconds: float, hdf5_rate_hz: Optional[int]
) -> Union[_ClipStatistics, Failure]:
    path = manifest.path(clip)
    try:
        return _measure_file(path, manifest.clip_samples(clip), max_seconds, hdf5_rate_hz)
    except (ValueError, OSError) as error:
        reason = Failure.of(path, error).reason
        return Failure(path, f"{reason} ({manifest.location(clip)})")


def _measure_file(
    path: str, num_samples: int, max_seconds: float, hdf5_rate_hz: Optional[int]
) -> _ClipStatistics:
    import torch

    from eat.audio import SAMPLE_RATE_HZ, audio_info, mel_filter_bank, num_frames, read_audio
    from eat.audio.checks import check_finite, check_length

    rate_hz = audio_info(path, hdf5_rate_hz).sample_rate_hz
    max_samples = round(max_seconds * SAMPLE_RATE_HZ)
    waveform = read_audio(path, num_samples=max_samples, hdf5_rate_hz=hdf5_rate_hz)
    check_finite(waveform, path)
    check_length(len(waveform), path)
    values = mel_filter_bank(torch.from_numpy(waveform)).double()  # (1, T, F)
    mean = values.mean()
    moments = Moments(values.numel(), mean.item(), (values - mean).square().sum().item())
    return _ClipStatistics(
        moments,
        num_frames=num_frames(num_samples * SAMPLE_RATE_HZ // rate_hz),
        seconds_read=len(waveform) / SAMPLE_RATE_HZ,
    )
