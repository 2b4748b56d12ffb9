"""Mean and standard deviation of the log-mel values of clips, and how long the clips are."""

import math
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from eat.audio.finding import find_inputs
from eat.work import Failure, is_failure, map_in_threads

from . import MAX_TARGET_LENGTH
from .manifest import Manifest, is_manifest
from .sampling import draw_clips

TARGET_LENGTH_STEP = 16  # frames: the side of a patch
MIN_STD = 1e-6  # rounding errors of a constant stay below
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass
class Statistics:
    """Statistics of the clips of a manifest."""

    mean: float
    std: float
    num_frames: np.ndarray  # (clips,) int64, lengths of the whole clips, in frames
    hours_read: float
    failures: List[Failure]
    num_listed: int = 0  # clips, of which some were measured
    silent: List[str] = field(default_factory=list)  # clips of which a silent part was measured
    notes: List[str] = field(default_factory=list)  # other files of a folder
    other_range: Dict[str, Any] = field(default_factory=dict)  # see `LogMel.other_range`

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
            **self.other_range,
            "num_clips": len(self.num_frames),
            "hours_read": self.hours_read,
            "frames_percentiles": dict(zip(map(str, PERCENTILES), frames, strict=True)),
            "silent": self.silent,
            "failures": [failure._asdict() for failure in self.failures],
        }


def measure_statistics(
    manifest: str,
    max_clips: int = 2000,
    max_seconds: float = 10.0,
    seed: int = 1,
    num_workers: Optional[int] = None,
    hdf5_rate_hz: Optional[int] = None,
    **front_end: Any,
) -> Statistics:
    """Measure mean and standard deviation of the log-mel values of clips.

    Every value of every real frame counts once; padding does not count. The result is the same for
    any number of workers.

    Args:
        manifest: the file that lists the clips (.tsv), a folder of audio files, or one of these.
        max_clips: how many clips to draw at random; 0 measures all.
        max_seconds: how much to read of a clip, from its start.
        num_workers: threads; None: one per core.
        hdf5_rate_hz: rate of HDF5 data that has no attribute `sample_rate`.
        front_end: its rates and range, the fields of `RangeConfig`.

    Raises:
        ValueError: impossible rates or range; no clip can be used, or all values are the same; a
            bad manifest; a folder without audio.
    """
    import torch

    from eat.audio import LogMel

    log_mel = LogMel(target_length=None, **front_end)
    listed = Manifest(manifest) if is_manifest(manifest) else _Folder(manifest)
    clips = draw_clips(len(listed), max_clips, seed).tolist()
    how = {"max_seconds": max_seconds, "hdf5_rate_hz": hdf5_rate_hz, "log_mel": log_mel}
    measure = partial(_measure_clip, listed, **how)
    one_thread_each = partial(torch.set_num_threads, 1)  # the workers fill the cores
    num_workers = num_workers or os.cpu_count() or 1
    results = list(map_in_threads(measure, clips, num_workers, "measuring", one_thread_each))
    failures, notes = [*filter(is_failure, results)], []
    if isinstance(listed, _Folder):
        failures, notes = failures + listed.left_out, listed.notes
    measured = _usable(results, failures, listed.file)
    mean, std = pool_moments(*measured[:, :3].T)
    if std < MIN_STD:
        raise ValueError(f"{listed.file}: found only silence, expected sound")
    num_frames, seconds_read = measured[:, 3].astype(np.int64), measured[:, 4].sum()
    pairs = zip(clips, results, strict=True)
    silent = [listed.path(i) for i, result in pairs if not is_failure(result) and result[5]]
    found = mean, std, num_frames, seconds_read / 3600, failures, len(listed), silent, notes
    return Statistics(*found, log_mel.other_range())


def _usable(results: Sequence[Any], failures: Sequence[Failure], file: str) -> np.ndarray:
    """(clips, 6), the results that are no failures; a ValueError if there are none."""
    measured = np.array([result for result in results if not is_failure(result)])
    if len(measured) == 0:
        first = ": ".join(failures[0])
        raise ValueError(f"{file}: none of {len(failures)} clips is usable; the first is {first}")
    return measured


def pool_moments(counts: np.ndarray, means: np.ndarray, squares: np.ndarray) -> Tuple[float, float]:
    """Mean and standard deviation of several sets of values together, without cancellation.

    (n,) each: sizes of the sets, their means, and their sums of squared deviations from those.
    """
    mean = np.average(means, weights=counts)
    variance = (squares.sum() + (counts * (means - mean) ** 2).sum()) / counts.sum()
    return float(mean), float(np.sqrt(variance))


class _Folder:
    """The audio files below a folder, or one, as a `Manifest` would list them."""

    def __init__(self, folder: str) -> None:
        self.file = folder
        files, self.notes, self.left_out = find_inputs([folder])
        self._paths = [path for path, _ in files]

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> str:
        return self._paths[index]

    def location(self, index: int) -> str:
        return f"below {self.file}"


def _measure_clip(
    listed: Union[Manifest, _Folder],
    clip: int,
    max_seconds: float,
    hdf5_rate_hz: Optional[int],
    log_mel: Any,
) -> Union[Tuple[float, ...], Failure]:
    """Number of log-mel values, their mean and squares; frames of the clip; seconds read; silence.

    The last is 1 if what was read is silent, and 0 otherwise.
    """
    import torch

    from eat.audio import audio_info, read_audio
    from eat.audio.checks import SILENT, check_finite, check_length
    from eat.audio.opening import open_sound

    path, reading_hz = listed.path(clip), log_mel.reading_rate_hz
    max_samples = round(max_seconds * reading_hz)
    try:
        if isinstance(listed, Manifest):  # knows the length, which all of a file may have to tell
            with open_sound(path, hdf5_rate_hz) as sound:
                num_samples, rate_hz = listed.clip_samples(clip), sound.samplerate
        else:
            num_samples, rate_hz, _ = audio_info(path, hdf5_rate_hz)
        waveform = read_audio(path, reading_hz, 0, max_samples, hdf5_rate_hz)
        check_finite(waveform, path)
        check_length(len(waveform), path, log_mel)
    except (ValueError, OSError) as error:
        return Failure(path, f"{Failure.of(path, error).reason} ({listed.location(clip)})")
    values = log_mel.filter_bank(torch.from_numpy(waveform)).double()  # (1, T, F)
    mean = values.mean()
    squares = (values - mean).square().sum()
    frames = log_mel.num_frames(num_samples * reading_hz // rate_hz)
    seconds = len(waveform) / reading_hz
    return values.numel(), mean.item(), squares.item(), frames, seconds, np.ptp(waveform) < SILENT
