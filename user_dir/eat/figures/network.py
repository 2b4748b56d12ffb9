"""What pictures of a network need: a clip and its masks, vectors of clips, what clips are."""

import os
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from eat.audio import LogMel
from eat.audio.packs import spell_out
from eat.checkpoint import build_encoder, load_checkpoint
from eat.data.manifest import Manifest
from eat.data.split import open_split, split_of
from eat.evaluation import embed_clips
from eat.features.recordings import FileRecording
from eat.features.storage import name_features, open_features
from eat.nn import Encoder, MaskingConfig
from eat.nn.masking import check_masking, inverse_block_masks
from eat.work import Failure

from .clip import count_frames

MAX_FRAMES = 1024  # of a clip (10.24 s), unless another length is asked for

_NUM_CONSIDERED = 16  # of the longest clips, for an example

# A vector (D,) for each clip, by its number in the manifest; and the clips that have none.
Vectors = Tuple[Dict[int, np.ndarray], List[Failure]]


def read_clip(
    file: str, log_mel: LogMel, start_seconds: float = 0.0, target_length: Optional[int] = None
) -> Tensor:
    """The network input (1, 1, T, F) of a part of a recording, padded or cut to `target_length`.

    Without that, to the front end's length; if it has none, the file's own up to `MAX_FRAMES`.
    """
    if target_length is not None:
        log_mel = replace(log_mel, target_length=target_length)
    recording, rate_hz = FileRecording(file, log_mel), log_mel.reading_rate_hz
    offset_samples = round(start_seconds * rate_hz)
    rest_samples = recording.num_samples - offset_samples
    if rest_samples < log_mel.window_samples:
        raise ValueError(
            f"start_seconds: found {start_seconds:g} in a file of"
            f" {recording.num_samples / rate_hz:.2f} s, expected an earlier start"
        )
    most_samples = log_mel.num_samples_for(log_mel.target_length or MAX_FRAMES)
    samples = recording.read(offset_samples, min(rest_samples, most_samples))
    return log_mel(torch.from_numpy(samples))


def choose_example(
    num_samples: np.ndarray, read: Callable[[int], Optional[Tensor]], log_mel: LogMel
) -> Optional[Tuple[int, Tensor]]:
    """The loudest of the longest clips, so that there is sound to see: its number and input.

    `num_samples` (N,) are the clips' lengths; `read` gives a network input (1, 1, T, F) of the
    front end `log_mel`, or None for a clip that cannot be read. None if there is no other.
    """
    longest = np.argsort(-num_samples, kind="stable")[:_NUM_CONSIDERED].tolist()
    inputs = {clip: source for clip in longest if (source := read(clip)) is not None}
    loudness = {
        clip: float(source[:, :, : count_frames(source, log_mel)].mean())
        for clip, source in inputs.items()
    }
    return max(inputs.items(), key=lambda item: loudness[item[0]], default=None)


def mask_clip(source: Tensor, masking: MaskingConfig, patch_size: int, seed: int = 1) -> np.ndarray:
    """Masks (K, L), True = hidden, for a network input (1, 1, T, F); a ValueError if impossible."""
    grid = source.shape[2] // patch_size, source.shape[3] // patch_size
    check_masking(masking, grid)
    return inverse_block_masks(masking, grid, np.random.default_rng(seed))


def training_settings(checkpoint: Optional[str], **given: Any) -> Tuple[MaskingConfig, LogMel]:
    """How a pre-training masks clips, and its front end.

    Without a checkpoint: as `pretrain_base`, but with a front end that keeps the length of clips.
    Given settings of masks replace the found ones, unless they are None.
    """
    masking, log_mel = MaskingConfig(), LogMel(target_length=None)
    if checkpoint is not None:
        found = load_checkpoint(checkpoint)
        if found.masking_config is None:
            raise ValueError(
                f"{checkpoint}: found a {found.kind} checkpoint without settings of masks, expected"
                " a pre-training checkpoint"
            )
        masking, log_mel = found.masking_config, found.log_mel or build_encoder(found).log_mel
    given = {name: value for name, value in given.items() if value is not None}
    return replace(masking, **given), log_mel


def embed_manifest(
    encoder: Encoder,
    manifest: Manifest,
    clips: Sequence[int],
    pooling: str = "cls",
    target_length: Optional[int] = None,
) -> Vectors:
    """Compute vectors of some clips of a manifest, see `embed_clips`; with a progress bar."""
    paths = [manifest.path(clip) for clip in clips]
    found = embed_clips(encoder, paths, (pooling,), target_length=target_length)
    (values,) = found.values.values()
    return {clips[index]: v for index, v in zip(found.clips, values, strict=True)}, found.failures


def read_vectors(path: str, manifest: Manifest, clips: Sequence[int]) -> Vectors:
    """Read vectors of clips from what `eat extract` wrote of a manifest; tokens are averaged."""
    arrays, vectors, failures = open_features(path), {}, []
    for clip in clips:
        file = spell_out(manifest.relative_path(clip), manifest.root)
        # x.wav beside x.flac have features of their whole names.
        name = next(filter(arrays.__contains__, (name_features(file), file)), name_features(file))
        if name in arrays:
            features = np.atleast_2d(arrays[name]())
            if features.ndim > 2:
                raise ValueError(
                    f"{name}: found features of shape {features.shape}, of several layers,"
                    " expected those of one (`eat extract --layers`)"
                )
            vectors[clip] = features.mean(axis=0)
        else:
            failures.append(Failure(manifest.location(clip), f"no features of {name} in {path}"))
    if not vectors:
        raise ValueError(
            f"{path}: found no features of the clips of {manifest.file}, expected the OUT of"
            f" `eat extract {manifest.file} --out OUT`"
        )
    return vectors, failures


def name_kinds(manifest: Manifest, by: Optional[str] = None) -> List[str]:
    """What each clip is: its first "label", its "folder", or (None) the label if there are any."""
    if by != "folder":
        _, descriptors, labels, _ = open_split(*split_of(manifest.file), labelled=by == "label")
        if labels is not None:
            return [descriptors[labels.classes(clip)[0]].name for clip in range(len(labels))]
    return name_folders(list(manifest.relative_paths()))


def name_folders(paths: Sequence[str]) -> List[str]:
    """The folder of each path, below the one that all are in."""
    folders = [os.path.dirname(path) or "." for path in paths]
    if len(set(folders)) == 1:
        return folders
    common = os.path.commonpath(folders)
    return [os.path.relpath(folder, common or ".") for folder in folders]
