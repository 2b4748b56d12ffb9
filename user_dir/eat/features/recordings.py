"""What features are made of: files and arrays, read part by part at a front end's rate."""

import os
from dataclasses import dataclass, field
from typing import Any, List, Optional, Sequence, Union

import numpy as np
import soxr
import torch

from eat.audio import SAMPLE_RATE_HZ, AudioError, LogMel, audio_info, read_audio
from eat.audio.checks import check_finite, check_length
from eat.audio.finding import find_inputs
from eat.audio.opening import AudioPath
from eat.audio.packs import spell_out
from eat.data.manifest import Manifest, is_manifest
from eat.work import Failure

Paths = Union[AudioPath, Sequence[AudioPath]]  # one or more


@dataclass
class Inputs:
    """The audio files behind inputs: audio files, folders of them, tars and manifests (.tsv)."""

    files: List[str] = field(default_factory=list)
    below: List[str] = field(default_factory=list)  # paths below roots, in packs with clips' names
    other_files: List[str] = field(default_factory=list)  # by folder, those that are no audio
    failures: List[Failure] = field(default_factory=list)


def list_inputs(inputs: Paths) -> Inputs:
    """List the audio files of inputs, or of one; a ValueError for a folder without any or a bad
    manifest.
    """
    found, is_one = Inputs(), isinstance(inputs, (str, os.PathLike))
    for path in map(os.fspath, [inputs] if is_one else inputs):
        if not is_manifest(path):
            files, notes, left_out = find_inputs([path])
            found.files += (file for file, _ in files)
            found.below += (below for _, below in files)
            found.other_files += notes
            found.failures += left_out
            continue
        manifest = Manifest(path)
        for index in range(len(manifest)):
            file = manifest.path(index)
            try:
                found.below.append(spell_out(manifest.relative_path(index), manifest.root))
                found.files.append(file)
            except (AudioError, OSError) as error:  # a pack that is missing or damaged, one of many
                found.failures.append(Failure.of(file, error))
    return found


class FileRecording:
    """An audio file, or clip in a pack, of which parts are read when they are needed."""

    def __init__(
        self, path: AudioPath, log_mel: LogMel, hdf5_rate_hz: Optional[int] = None
    ) -> None:
        self.name = os.fspath(path)
        if os.path.isdir(path) or is_manifest(path):
            raise AudioError(
                f"{self.name}: found a folder or manifest, expected an audio file:"
                " eat.features.extract_to_folder and eat.tag take all of its files"
            )
        self._hdf5_rate_hz = hdf5_rate_hz
        info = audio_info(path, hdf5_rate_hz)
        self._rate_hz = log_mel.reading_rate_hz
        # At this rate, by its header, and rounded as soxr does it.
        doubled = 2 * info.num_samples * self._rate_hz + info.sample_rate_hz
        self.num_samples = doubled // (2 * info.sample_rate_hz)
        check_length(self.num_samples, self.name, log_mel)

    def read(self, offset_samples: int, num_samples: int) -> np.ndarray:
        """(num_samples,) float32; an AudioError if they are fewer or not finite."""
        rates = {"sample_rate_hz": self._rate_hz, "hdf5_rate_hz": self._hdf5_rate_hz}
        part = {"offset_samples": offset_samples, "num_samples": num_samples}
        samples = read_audio(self.name, **part, **rates)
        if len(samples) != num_samples:
            raise AudioError(
                f"{self.name}: cut off: found {offset_samples + len(samples)} samples at"
                f" {self._rate_hz / 1000:g} kHz, expected {self.num_samples} by its header"
            )
        check_finite(samples, self.name)
        return samples


class ArrayRecording:
    """(S,) float samples in memory, of any device and dtype, in place of a `FileRecording`.

    Their rate is `sample_rate_hz`. None: 16 kHz; if the front end reads at another rate, a
    ValueError asks for it.
    """

    def __init__(
        self, samples: Any, log_mel: LogMel, sample_rate_hz: Optional[int], name: str
    ) -> None:
        if isinstance(samples, torch.Tensor):
            samples = samples.detach().cpu()
            samples = samples.float() if samples.dtype == torch.bfloat16 else samples
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"{name}: found {samples.dtype} of shape {samples.shape}, expected a path or"
                " (S,) float samples in [-1, 1], mono"
            )
        samples = samples.astype(np.float32, copy=False)
        reading_hz = log_mel.reading_rate_hz
        if sample_rate_hz is None and reading_hz != SAMPLE_RATE_HZ:
            raise ValueError(
                f"{name}: found an array without sample_rate_hz, expected its rate, as the front"
                f" end reads at {reading_hz} Hz and not at {SAMPLE_RATE_HZ}"
            )
        if sample_rate_hz not in (None, reading_hz):
            samples = soxr.resample(samples, sample_rate_hz, reading_hz)
        self.name = name
        self.num_samples = len(samples)
        self._samples = samples
        check_length(self.num_samples, self.name, log_mel)

    def read(self, offset_samples: int, num_samples: int) -> np.ndarray:
        """(num_samples,) float32; an AudioError if some are not finite."""
        # Copied, as torch wants neither read-only arrays nor reversed ones.
        samples = np.array(self._samples[offset_samples : offset_samples + num_samples])
        check_finite(samples, self.name)
        return samples


Recording = Union[FileRecording, ArrayRecording]
