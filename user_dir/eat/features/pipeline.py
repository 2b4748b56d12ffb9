"""From recordings through a network: windows, reading ahead, batches, merging."""

import math
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
)

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eat.audio import LogMel
from eat.work import Failure, map_ahead, show_progress

from . import BATCH_SIZE, OVERLAP_SECONDS, WINDOW_SECONDS
from .recordings import ArrayRecording, FileRecording, Recording
from .windows import TokenLayout, Window, merge_windows, split_into_windows, trim

# Rows in one pass: those of the 10.24 s of training for every clip of `batch_size`. On the CPU
# for all of them together: more does not fit into its caches and takes longer per clip.
_ROWS_AT_ONCE = 64

# Clips whose headers are read and whose windows are sorted by length at once.
_CLIPS_AT_ONCE = 1024


class Network(Protocol):
    """What windows are run through."""

    layout: TokenLayout  # of the N tokens

    def __call__(self, source: Tensor, lengths: Optional[Tensor]) -> Tensor:
        """(B, 1, T, F) and (B,) valid frames (None: all) -> (B, ..., N, D) on the CPU."""


class Result(NamedTuple):
    """What became of a clip: the tokens, or why there are none."""

    index: int  # in the inputs
    tokens: Optional[Tensor]
    error: Optional[Exception]


class _Part(NamedTuple):
    """A window of a clip, and where its samples are."""

    index: int  # of the clip
    recording: Recording
    window: Window
    offset_samples: int
    num_samples: int

    def read(self) -> "np.ndarray | Exception":
        """The (S,) samples, or why there are none."""
        try:
            return self.recording.read(self.offset_samples, self.num_samples)
        except (ValueError, OSError) as error:
            return error


@dataclass(frozen=True)
class Pipeline:
    """How recordings are cut, read and batched.

    If `log_mel` has a `target_length`, every window is padded to it and the padding is attended to,
    as in the released code. Features of patches come from the window in whose middle they are; CLS
    is the mean of the windows' weighted by duration.
    """

    log_mel: LogMel
    # Longer clips are cut into windows of this length, in seconds of the recording, rounded to
    # whole rows of patches. None takes only the first `log_mel.target_length` frames of a clip.
    window_seconds: Optional[float] = WINDOW_SECONDS
    overlap_seconds: float = OVERLAP_SECONDS  # what neighbouring windows share at least
    # Windows in one pass at most; fewer when they are long. 1: with all of torch's threads.
    batch_size: int = BATCH_SIZE
    # Threads that decode, and on the CPU compute; None: one per core.
    num_workers: Optional[int] = None
    device: torch.device = torch.device("cpu")
    hdf5_rate_hz: Optional[int] = None  # see `read_audio`

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size: found {self.batch_size}, expected 1 or more")
        if self.window_seconds is None and self.log_mel.target_length is not None:
            return
        step_seconds = self.log_mel.step_seconds
        if self.window_seconds is None or not step_seconds <= self.window_seconds < math.inf:
            raise ValueError(
                f"window_seconds: found {self.window_seconds}, expected {step_seconds:g} or more"
                " seconds, as many as the longest clip has to take all clips whole"
            )
        rows, overlap = self._rows_in(self.window_seconds), self.overlap_seconds
        if not (math.isfinite(overlap) and 0 <= self._rows_in(overlap) < rows):
            raise ValueError(
                f"overlap_seconds: found {overlap}, expected a number from 0 to below"
                f" window_seconds {self.window_seconds}"
            )

    def _rows_in(self, seconds: float) -> int:
        return round(seconds / self.log_mel.step_seconds)

    def run(
        self, inputs: Sequence[Any], network: Network, sample_rate_hz: Optional[int] = None
    ) -> Iterator[Result]:
        """Yield a result for every path or array (S,), in the order in which they are finished."""
        num_torch_threads = torch.get_num_threads()
        # One torch thread in each of ours: several waiting for each other inside a small network
        # cost far more than they bring.
        num_threads = self.num_workers or os.cpu_count() or 1
        executor = ThreadPoolExecutor(num_threads, initializer=partial(torch.set_num_threads, 1))
        try:
            for first in range(0, len(inputs), _CLIPS_AT_ONCE):
                clips = range(first, min(first + _CLIPS_AT_ONCE, len(inputs)))
                opened = executor.map(partial(self._open, inputs, sample_rate_hz), clips)
                parts = dict(zip(clips, opened, strict=True))
                yield from self._run_together(parts, network, executor, num_threads + 1)
        finally:
            executor.shutdown(cancel_futures=True)
            # The last value that any thread sets is that of all threads to come.
            torch.set_num_threads(num_torch_threads)

    def run_stream(self, chunks: Iterable[np.ndarray], network: Network) -> Iterator[Tensor]:
        """Yield the tokens (..., N, D) of sound that comes bit by bit, (S,) each, in order.

        Together they are those of a file with all of it, without summary: those of a window come
        once the next one is complete, because only then is it certain which it keeps.
        """
        samples, kept = np.empty(0, np.float32), 0  # of windows to come; rows that had their tokens
        for chunk in chain(chunks, [None]):
            samples = samples if chunk is None else np.concatenate([samples, chunk])
            cuts = self._cut(len(samples)) if self.log_mel.num_frames(len(samples)) else []
            num_ready = len(cuts) if chunk is None else max(0, len(cuts) - 2)
            for window, offset, count in cuts[:num_ready]:
                (tokens,) = self._compute(network, [samples[offset : offset + count]])
                window = window._replace(keep_start=kept)
                yield trim(window, tokens, network.layout)[..., network.layout.num_summary :, :]
                kept = window.keep_stop
            for window, offset, _ in cuts[num_ready : num_ready + 1]:  # becomes the first
                samples, kept = samples[offset:], kept - window.start

    def run_files(
        self, paths: Sequence[str], network: Network, use: Callable[[int, Tensor], None], title: str
    ) -> List[Failure]:
        """Run files through a network, with a progress bar; returns those that failed, in order.

        `use` is called with the index and the tokens of each file, in the order in which they are
        finished. If it raises a ValueError, the file has failed.
        """
        failures: Dict[int, Failure] = {}
        results = self.run(paths, network)
        for index, tokens, error in show_progress(
            results, len(paths), title, failed=lambda result: result.error is not None
        ):
            if error is None:
                try:
                    use(index, tokens)
                except ValueError as unusable:
                    error = unusable
            if error is not None:
                failures[index] = Failure.of(paths[index], error)
        return [failures[index] for index in sorted(failures)]

    def _open(
        self, inputs: Sequence[Any], sample_rate_hz: Optional[int], index: int
    ) -> "List[_Part] | Exception":
        """The windows of an input, or why it cannot be read."""
        audio, log_mel, patch_size = inputs[index], self.log_mel, self.log_mel.patch_size
        try:
            if isinstance(audio, (str, os.PathLike)):
                recording = FileRecording(audio, log_mel, self.hdf5_rate_hz)
            else:
                recording = ArrayRecording(audio, log_mel, sample_rate_hz, f"audio[{index}]")
        except (ValueError, OSError) as error:
            return error
        total = recording.num_samples
        if self.window_seconds is None:
            num_rows = log_mel.target_length // patch_size
            # More than is used: the front end subtracts the mean of all samples first, as the
            # released code does, and rounding then shows in the fifth digit.
            more = round(WINDOW_SECONDS * log_mel.sample_rate_hz)
            count = min(total, max(log_mel.max_samples, more))
            return [_Part(index, recording, Window(0, num_rows, 0, num_rows), 0, count)]
        return [_Part(index, recording, *cut) for cut in self._cut(total)]

    def _cut(self, total: int) -> "List[tuple[Window, int, int]]":
        """The windows of so many samples, and the first and the number of the samples of each."""
        log_mel, patch_size = self.log_mel, self.log_mel.patch_size
        num_rows = -(-log_mel.num_frames(total) // patch_size)
        lengths = self._rows_in(self.window_seconds), self._rows_in(self.overlap_seconds)
        cuts = []
        for window in split_into_windows(num_rows, *lengths):
            offset = window.start * patch_size * log_mel.hop_samples
            is_last = window.stop == num_rows  # it need not fill its last patch
            full = log_mel.num_samples_for(window.num_rows * patch_size)
            cuts.append((window, offset, total - offset if is_last else full))
        return cuts

    def _run_together(
        self, clips: Dict[int, Any], network: Network, executor: Executor, num_ahead: int
    ) -> Iterator[Result]:
        """The results of clips that `_open` has cut."""
        tokens: Dict[int, Dict[Window, Tensor]] = {}  # of unfinished clips, by window
        parts: List[_Part] = []
        for index, opened in clips.items():
            if isinstance(opened, Exception):
                yield Result(index, None, opened)
            else:
                tokens[index] = {}
                parts += opened
        for part, content in self._compute_all(parts, network, executor, num_ahead):
            index = part.index
            if index not in tokens:  # another window of the clip has failed
                continue
            if isinstance(content, Exception):
                del tokens[index]
                yield Result(index, None, content)
                continue
            tokens[index][part.window] = trim(part.window, content, network.layout)
            if len(tokens[index]) == len(clips[index]):
                yield Result(index, merge_windows(tokens.pop(index), network.layout), None)

    def _compute_all(
        self, parts: Sequence[_Part], network: Network, executor: Executor, num_ahead: int
    ) -> "Iterator[tuple[_Part, Tensor | Exception]]":
        """Every window with its tokens (..., N, D), or why there are none."""
        on_cpu = self.device.type == "cpu"
        max_rows = _ROWS_AT_ONCE * (1 if on_cpu else self.batch_size)
        batches = make_batches(parts, lambda p: p.window.num_rows, self.batch_size, max_rows)
        # On the CPU every thread computes; another device gets one batch after the other.
        in_threads = on_cpu and self.batch_size > 1
        if in_threads and len(batches) > 1:
            # The caller's few operations must not wake threads that take the processor, waiting for
            # more, from those that compute.
            torch.set_num_threads(1)

        def work(batch: List[_Part]) -> List[Any]:
            contents = [part.read() for part in batch]
            return self._compute(network, contents) if in_threads else contents

        for batch, contents in map_ahead(batches, work, executor, num_ahead):
            tokens = contents if in_threads else self._compute(network, contents)
            yield from zip(batch, tokens, strict=True)

    def _compute(self, network: Network, contents: Sequence[Any]) -> List[Any]:
        """The tokens of each waveform (S,); what is an error stays one."""
        waveforms = [content for content in contents if not isinstance(content, Exception)]
        if not waveforms:
            return [*contents]
        sources = [self.log_mel(torch.from_numpy(w).to(self.device)) for w in waveforms]
        frames = [source.shape[2] for source in sources]
        lengths = None
        if min(frames) < max(frames):
            sources = [F.pad(s, (0, 0, 0, max(frames) - s.shape[2])) for s in sources]
            lengths = torch.tensor(frames, device=self.device)
        tokens = iter(network(torch.cat(sources), lengths))
        return [c if isinstance(c, Exception) else next(tokens) for c in contents]


def make_batches(
    items: Sequence[Any], length: Callable[[Any], int], batch_size: int, max_length: int
) -> List[List[Any]]:
    """Group items of similar lengths, the longest first, at most `batch_size` in a batch.

    All items of a batch, each padded to the longest of them, have `max_length` together at most;
    a batch of one item may exceed it.
    """
    batches: List[List[Any]] = []
    capacity = 0  # of the last batch, whose first item is its longest
    for item in sorted(items, key=length, reverse=True):
        if not batches or len(batches[-1]) == capacity:
            batches.append([])
            capacity = max(1, min(batch_size, max_length // length(item)))
        batches[-1].append(item)
    return batches
