"""Figures in TensorBoard, drawn of a validation set whenever there is a validation."""

import copy
import logging
import os
from typing import Any, Callable, Dict, Optional

import numpy as np

logger = logging.getLogger(__name__)

FOLDER = "figures"  # below common.tensorboard_logdir, beside those that fairseq writes
MAX_CLONES = 4
MAX_EMBEDDED_CLIPS = 256
_CLIPS_AT_ONCE = 32


class ValidationFigures:
    """Writes figures of one validation set below `common.tensorboard_logdir`.

    A long and loud clip with its masks, once; its attention in the last block; and a map of some
    clips, coloured by label or folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, FOLDER)
        self._writer: Optional[Any] = None
        self._example: Optional[int] = None  # its index in the data set

    def write(
        self, dataset: Any, kind_of: Callable[[int], str], encoder: Any, num_updates: int
    ) -> None:
        """Draw all figures of a `SpectrogramDataset`; an error is only logged, as a warning.

        `kind_of` says what a clip is, by its number in the manifest; this gives its colour.
        """
        was_training = encoder.training
        try:
            # Here, as training without figures needs neither.
            from torch.utils.tensorboard import SummaryWriter

            from .style import make_drawable

            figures = self._draw(dataset, kind_of, encoder.eval())
            self._writer = self._writer or SummaryWriter(self._folder)
            for tag, figure in figures.items():
                make_drawable(figure)
                self._writer.add_figure(tag, figure, num_updates, close=False)
            self._writer.flush()
        except Exception as error:  # a missing figure must not end a training
            logger.warning("no figures for TensorBoard: %s: %s", type(error).__name__, error)
        finally:
            encoder.train(was_training)

    def _draw(self, dataset: Any, kind_of: Callable[[int], str], encoder: Any) -> Dict[str, Any]:
        from eat.figures import MIN_MAPPED_CLIPS, draw_clip, draw_layer, draw_map
        from eat.figures.network import choose_example

        dataset = copy.copy(dataset)
        dataset.on_device = False  # training clips have spectrograms here, too
        if self._example is None:
            lengths = dataset.manifest.num_samples[dataset.clips]
            read = lambda index: dataset[index]["source"].unsqueeze(0)  # noqa: E731
            self._example, _ = choose_example(lengths, read, dataset.log_mel)
        sample = dataset[self._example]
        name = dataset.manifest.relative_path(sample["id"])
        source, log_mel = sample["source"].unsqueeze(0), dataset.log_mel
        figures = {}
        if self._writer is None and "mask" in sample:
            masks = sample["mask"][:MAX_CLONES].numpy()
            figures["clip"] = draw_clip(source, masks, log_mel, name)
        figures["attention"] = draw_layer(encoder, source, log_mel, name)
        if len(dataset) >= MIN_MAPPED_CLIPS:
            vectors = _embed(dataset, encoder)
            kinds = {clip: kind_of(clip) for clip in vectors}
            figures["embeddings"] = draw_map(vectors, kinds, dataset.manifest.file)
        return figures


def _embed(dataset: Any, encoder: Any) -> Dict[int, np.ndarray]:
    """The CLS tokens (D,) of clips that are spread evenly over the set, by their numbers."""
    from eat.features import Embedder

    embedder = Embedder(encoder, "utterance")
    chosen = np.linspace(0, len(dataset) - 1, min(MAX_EMBEDDED_CLIPS, len(dataset))).astype(int)
    vectors = {}
    for indices in np.array_split(chosen, -(-len(chosen) // _CLIPS_AT_ONCE)):
        batch = dataset.collater([dataset[index] for index in indices.tolist()])
        tokens = embedder(batch["net_input"]["source"], None)[:, 0].numpy()
        vectors.update(zip(batch["id"].tolist(), tokens, strict=True))
    return vectors
