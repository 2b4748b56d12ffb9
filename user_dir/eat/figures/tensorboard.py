"""Figures in TensorBoard, drawn of a validation set whenever there is a validation."""

import logging
import os
from typing import Any, Callable, Optional

import numpy as np
import torch
from matplotlib.figure import Figure

from eat.data.datasets import SpectrogramDataset
from eat.features import Embedder
from eat.nn import Encoder

from .embeddings import draw_embeddings, map_embeddings
from .network import draw_input, draw_layer
from .style import make_drawable

logger = logging.getLogger(__name__)

FOLDER = "figures"  # below common.tensorboard_logdir, beside those that fairseq writes
MAX_CLONES = 4
MIN_EMBEDDED_CLIPS, MAX_EMBEDDED_CLIPS = 3, 256
_CLIPS_AT_ONCE = 32


class ValidationFigures:
    """Writes figures of one validation set to TensorBoard.

    The longest clip with its masks, once; its attention in the last block; and a map of the
    embeddings of some clips, coloured by label or folder.

    Args:
        folder: `common.tensorboard_logdir`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, FOLDER)
        self._writer: Optional[Any] = None

    def write(
        self,
        dataset: SpectrogramDataset,
        kind_of: Callable[[int], str],
        encoder: Encoder,
        num_updates: int,
    ) -> None:
        """Draw all figures. Whatever goes wrong is only warned of: training goes on.

        Args:
            dataset: the validation set.
            kind_of: by what a clip, given as its number in the manifest, is coloured.
            encoder: with the weights of this update.
            num_updates: so far.
        """
        was_training = encoder.training
        try:
            encoder.eval()
            self._write(dataset, kind_of, encoder, num_updates)
        except Exception as error:  # a figure is worth no training
            logger.warning("no figures for TensorBoard: %s: %s", type(error).__name__, error)
        finally:
            encoder.train(was_training)

    def _write(
        self,
        dataset: SpectrogramDataset,
        kind_of: Callable[[int], str],
        encoder: Encoder,
        num_updates: int,
    ) -> None:
        longest = int(np.argmax(dataset.manifest.num_samples[dataset.clips]))
        sample = dataset[longest]
        name = dataset.manifest.relative_path(sample["id"])
        source, log_mel = sample["source"].unsqueeze(0), dataset.log_mel
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self._folder)
            if "mask" in sample:
                masks = sample["mask"][:MAX_CLONES].numpy()
                self._add("clip", draw_input(source, masks, log_mel, name), num_updates)
        last = draw_layer(encoder, source, encoder.config.depth, log_mel, name)
        self._add("attention", last, num_updates)
        if len(dataset) >= MIN_EMBEDDED_CLIPS:
            self._add("embeddings", _draw_map(dataset, kind_of, encoder), num_updates)
        self._writer.flush()

    def _add(self, tag: str, figure: Figure, num_updates: int) -> None:
        make_drawable(figure)
        self._writer.add_figure(tag, figure, num_updates, close=False)


def _draw_map(
    dataset: SpectrogramDataset, kind_of: Callable[[int], str], encoder: Encoder
) -> Figure:
    """The CLS tokens of clips that are spread evenly over the set."""
    embedder = Embedder(encoder, "utterance")
    chosen = np.linspace(0, len(dataset) - 1, min(MAX_EMBEDDED_CLIPS, len(dataset))).astype(int)
    vectors, kinds = [], []
    for start in range(0, len(chosen), _CLIPS_AT_ONCE):
        samples = [dataset[int(index)] for index in chosen[start : start + _CLIPS_AT_ONCE]]
        source = torch.stack([sample["source"] for sample in samples]).to(encoder.cls_token)
        vectors.append(embedder(source, None)[:, 0].numpy())
        kinds += [kind_of(sample["id"]) for sample in samples]
    embedding_map = map_embeddings(np.concatenate(vectors))
    return draw_embeddings(embedding_map, kinds, f"{len(kinds)} clips of {dataset.manifest.file}")
