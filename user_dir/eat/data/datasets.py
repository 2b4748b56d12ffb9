"""fairseq data sets: clips of a manifest as network input."""

import logging
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq.data import FairseqDataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from eat.audio import AudioError, LogMel, ReadingConfig
from eat.audio.checks import check_finite, check_length
from eat.audio.read import read_part
from eat.nn.masking import MaskingConfig, check_masking, inverse_block_masks, num_visible_patches
from eat.randomness import Purpose, generator_for

from .corpora import AnyManifest, check_weights
from .sampling import draw_shares, draw_weighted

logger = logging.getLogger(__name__)


class SpectrogramDataset(FairseqDataset):
    """Clips of a manifest as normalised spectrograms of one length.

    The front end must have a `target_length`. Clips with fewer than `min_samples` samples in the
    manifest are left out. With `shuffle` fairseq's seed draws a new order every epoch. All other
    draws, such as that of the part that is read, depend on (seed, epoch, the clip's number in the
    manifest) and on nothing else.

    With `weights`, one for each manifest that is joined, an epoch has `num_samples` clips (None: as
    many as are kept) of which each manifest has its share. A clip that comes several times has the
    numbers i, i + N, i + 2 N, ... of N clips in the manifest, and other draws each time.

    With `on_device` samples and batches hold waveforms, of which `finish` makes `source`, to the
    bit the same on a CPU.
    """

    # New batches are drawn every epoch, and loader workers learn the epoch when they start.
    can_reuse_epoch_itr_across_epochs = False

    def __init__(
        self,
        manifest: AnyManifest,
        log_mel: LogMel,
        min_samples: int,
        shuffle: bool,
        seed: int = 1,
        reading: Optional[ReadingConfig] = None,
        weights: Optional[Sequence[float]] = None,
        num_samples: Optional[int] = None,
        on_device: bool = False,
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.log_mel = log_mel
        self.shuffle = shuffle
        self.on_device = on_device
        self.reading = reading or ReadingConfig()
        self.reading.check()
        self.seed = seed
        self.epoch = 1
        self.weights, self.num_samples = weights, num_samples
        check_weights(weights, len(manifest.parts))
        # A tensor: torch puts tensors into memory that all workers share, forked or not.
        self._clips = torch.from_numpy(np.flatnonzero(manifest.num_samples >= min_samples))
        if len(self) == 0:
            raise ValueError(
                f"{manifest.file}: found no clip of at least {min_samples} samples"
                f" (task.min_samples) among {len(manifest)}"
            )
        for part, kept in zip(manifest.parts, np.diff(self.bounds), strict=True):
            logger.info(
                "%s: %d clips, %d shorter than %d samples left out",
                part.file, kept, len(part) - kept, min_samples,
            )  # fmt: skip
            if weights is not None and kept == 0:
                raise ValueError(f"{part.file}: found no clip for task.weights, expected one")

    @property
    def clips(self) -> np.ndarray:
        """(len(self),) int64, the numbers of the clips that are kept."""
        return self._clips.numpy()

    @property
    def bounds(self) -> List[int]:
        """Where the kept clips of each joined manifest begin, and where the last ones end."""
        starts = np.cumsum([0, *map(len, self.manifest.parts)])
        return np.searchsorted(self.clips, starts).tolist()

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The `index`-th kept clip: its number in the manifest and `source` (1, T, F).

        With `on_device` `waveform` (S,) in place of `source`.
        """
        clip = self._number(index)
        waveform, *_ = self._read(clip)
        if self.on_device:
            return {"id": clip, "waveform": waveform}
        return {"id": clip, "source": self._spectrogram(clip, waveform)[0]}

    def _number(self, index: int) -> int:
        """The number in the manifest of the `index`-th kept clip."""
        times_before, index = divmod(index, len(self))
        return int(self._clips[index]) + times_before * len(self.manifest)

    def _spectrogram(self, clip: int, waveform: Tensor) -> Tuple[Tensor, int]:
        """The spectrogram of a clip (1, T, F), and by how many frames it is rotated, here none."""
        return self.log_mel(waveform)[0], 0

    def _read(self, clip: int) -> Tuple[Tensor, int, int]:
        """The part of a clip that is used, (S,) at the front end's rate, its first sample in the
        clip, and by how many samples it is rotated, here none.
        """
        listed = clip % len(self.manifest)
        path, count = self.manifest.path(listed), self.log_mel.max_samples
        rates = self.reading.hdf5_rate_hz, self.log_mel.reading_rate_hz
        is_random = self.reading.crop == "random"
        place = self._generator(Purpose.CROP, clip).random() if is_random else 0.0
        try:
            most = self.manifest.clip_samples(listed)
            waveform, start = read_part(path, count, place, most, *rates)
            check_length(len(waveform), path, self.log_mel)
            check_finite(waveform, path)
        except (AudioError, OSError) as error:
            raise AudioError(f"{self.manifest.location(listed)}: {error}") from error
        return torch.from_numpy(waveform), start, 0

    def _generator(self, purpose: Purpose, *clips: int) -> np.random.Generator:
        return generator_for(self.seed, purpose, self.epoch, *clips)

    def __len__(self) -> int:
        return len(self._clips)

    def size(self, index: int) -> int:
        """Frames of a clip: all clips are padded or cropped to the same length."""
        assert self.log_mel.target_length is not None
        return self.log_mel.target_length

    num_tokens = size

    def set_epoch(self, epoch: int) -> None:
        """Called by fairseq before each epoch."""
        self.epoch = epoch

    def ordered_indices(self) -> np.ndarray:
        """The clips of this epoch, in order; fairseq seeds numpy with (seed + epoch) around it."""
        if self.weights is not None:
            generator, count = self._generator(Purpose.CORPUS_DRAW), self.num_samples or len(self)
            chances = self._draw_weights()
            return draw_shares(self.bounds, self.weights, count, chances, generator)
        if self.num_samples is not None:
            generator = self._generator(Purpose.BALANCED_DRAW)
            return draw_weighted(self._draw_weights(), self.num_samples, generator)
        return np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))

    def _draw_weights(self) -> np.ndarray:
        """(len(self),) float64: how likely a clip is drawn, in proportion to others."""
        return np.ones(len(self))

    def batch_by_size(
        self, indices: np.ndarray, max_sentences: Optional[int] = None, **_: Any
    ) -> List[np.ndarray]:
        """Cut the ordered clips into batches; all have one length, so nothing is sorted."""
        if max_sentences is None:
            raise ValueError(
                "dataset.batch_size: not set, expected a number of clips"
                " (dataset.max_tokens has no meaning here)"
            )
        return np.split(indices, np.arange(max_sentences, len(indices), max_sentences))

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Stack clips into `net_input = {source (B, 1, T, F)}`, or with `on_device` `waveforms`."""
        if not samples:
            return {}
        clips = [sample["id"] for sample in samples]
        batch = {"id": torch.tensor(clips), "nsentences": len(samples), "net_input": {}}
        if self.on_device:
            waveforms = [sample["waveform"] for sample in samples]
            # As the integers of the same bits: fairseq would cast float32 to half precision.
            batch["waveforms"] = pad_sequence(waveforms, batch_first=True).view(torch.int32)
            batch["clips"] = [*zip(clips, map(len, waveforms), strict=True)]
        else:
            batch["net_input"]["source"] = torch.stack([sample["source"] for sample in samples])
        return batch

    def finish(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        """A batch with waveforms, on any device -> the batch with `source` (B, 1, T, F) float32."""
        waveforms = batch["waveforms"].view(torch.float32)
        # One by one, as padding and the others of a batch would change the last digits.
        sources = [
            self._spectrogram(clip, waveform[:count])[0]
            for waveform, (clip, count) in zip(waveforms, batch["clips"], strict=True)
        ]
        finished = {key: value for key, value in batch.items() if key != "waveforms"}
        finished["net_input"] = {**batch["net_input"], "source": torch.stack(sources)}
        return finished


class PretrainingDataset(SpectrogramDataset):
    """Spectrograms with the masks of their clones, which depend on (seed, epoch, clip) only."""

    def __init__(self, *args: Any, masking: MaskingConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.masking = masking
        check_masking(masking, self.grid)

    @property
    def grid(self) -> Tuple[int, int]:
        """(H, W), patches along time and frequency."""
        patch_size = self.log_mel.patch_size
        return self.size(0) // patch_size, self.log_mel.num_mel_bins // patch_size

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The `index`-th kept clip with `mask` (K, L) bool, True = hidden."""
        sample = super().__getitem__(index)
        generator = self._generator(Purpose.MASK, sample["id"])
        masks = inverse_block_masks(self.masking, self.grid, generator)
        return {**sample, "mask": torch.from_numpy(masks)}

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Stack clips into `net_input = {source (B, 1, T, F), mask (B, K, L), num_visible V}`."""
        batch = super().collater(samples)
        if batch:
            mask = torch.stack([sample["mask"] for sample in samples])
            # If the model had to count them, the host would wait for the GPU.
            num_visible = num_visible_patches(self.masking, mask.shape[2])
            batch["net_input"].update(mask=mask, num_visible=num_visible)
        return batch
