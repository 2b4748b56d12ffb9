"""The task `eat_classification`: clips with labels, and a metric of whole validation sets."""

import logging
import os
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch.distributed as dist
from fairseq.criterions import FairseqCriterion
from fairseq.logging.meters import Meter
from fairseq.tasks import register_task
from omegaconf import II, OmegaConf
from torch import Tensor, nn

from eat.audio.augment import AugmentationConfig
from eat.checkpoint import load_checkpoint
from eat.criterions.classification import ACTIVATIONS
from eat.data.classification import ClassificationDataset
from eat.data.corpora import AnyManifest, folders_of
from eat.data.labels import (
    DESCRIPTORS_FILE,
    Label,
    LabelTable,
    describe_difference,
    read_descriptors,
    read_labels,
)
from eat.evaluation.metrics import accuracy, average_precisions, mean_over_classes
from eat.settings import part_of
from eat.training.validation import validation_meter

from .audio import AudioTask, AudioTaskConfig

logger = logging.getLogger(__name__)


@dataclass
class ClassificationTaskConfig(AugmentationConfig, AudioTaskConfig):
    """Data, front end and augmentation."""

    num_samples: Optional[int] = field(
        default=None,
        metadata={
            "help": "training clips of an epoch, drawn without replacement, those of rare classes"
            " more often (released AS-2M: 200000); null: all of them"
        },
    )
    # Links: set once in the criterion's section.
    loss: str = II("criterion.loss")
    metric: str = II("criterion.metric")


@register_task("eat_classification", dataclass=ClassificationTaskConfig)
class ClassificationTask(AudioTask):
    """Serve clips with their labels, and score each validation set as a whole.

    Attributes:
        descriptors: the classes in the order of the logits.
    """

    cfg: ClassificationTaskConfig

    def __init__(self, cfg: ClassificationTaskConfig) -> None:
        super().__init__(cfg)
        self.descriptors = self._read_classes()
        # Stored in every checkpoint, so that using one needs no other file.
        labels = [label.name for label in self.descriptors]
        self.state.merge_state_dict({"labels": labels, "activation": ACTIVATIONS.get(cfg.loss)})

    def _read_classes(self) -> List[Label]:
        """The classes of the first folder of `task.data`; a ValueError if another has others."""
        files = [os.path.join(folder, DESCRIPTORS_FILE) for folder in folders_of(self.cfg.data)]
        classes = read_descriptors(files[0])
        for file in files[1:]:
            others = read_descriptors(file)
            names = [label.id for label in others]
            difference = describe_difference(len(others), names, classes)
            if difference:
                raise ValueError(f"task.data: {file}: {difference}, as in {files[0]}")
        return classes

    def build_model(self, cfg: Any, *args: Any, **kwargs: Any) -> nn.Module:
        """Build the model, whose encoder has the size of the checkpoint it starts from."""
        if OmegaConf.is_missing(cfg, "init_from"):
            raise ValueError(
                "model.init_from: not set, expected the checkpoint to fine-tune;"
                " model.init_from=null trains from scratch"
            )
        if cfg.init_from:
            checkpoint = load_checkpoint(cfg.init_from)
            self.compare_front_ends(checkpoint)
            sizes = checkpoint.encoder_config
            # In place: fairseq writes this object into the checkpoints of the run.
            for size in fields(sizes):
                cfg[size.name] = getattr(sizes, size.name)
        return super().build_model(cfg, *args, **kwargs)

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Open `{data}/{split}.tsv` and `{data}/{split}.lbl`, in each folder of `data`.

        Raises:
            FileNotFoundError: there is no such manifest, or it has no labels.
            ManifestError, LabelError: a bad line.
            ValueError: impossible settings, or a loss or metric that does not fit the labels.
        """
        cfg, clips = self.cfg, self.clips_of(split)
        tables = []
        for folder, part in zip(folders_of(cfg.data), clips["manifest"].parts, strict=True):
            classes_file = os.path.join(folder, DESCRIPTORS_FILE)
            file = os.path.join(folder, f"{split}.lbl")
            tables.append(read_labels(file, part, self.descriptors, classes_file))
        labels = LabelTable.join(tables)
        self._check_labels(labels, clips["manifest"])
        if split == cfg.train_subset:
            clips["augmentation"] = part_of(AugmentationConfig, cfg)
            clips["num_samples"] = cfg.num_samples
        else:
            clips["min_samples"] = 0  # a metric is one of all clips, however short
        self.datasets[split] = ClassificationDataset(**clips, labels=labels)

    def _check_labels(self, labels: LabelTable, manifest: AnyManifest) -> None:
        for key, single, other in (
            ("metric", "accuracy", "mAP"),
            ("loss", "cross_entropy", "bce"),
        ):
            if self.cfg[key] == single and not labels.is_single_label:
                clip = next(i for i in range(len(labels)) if len(labels.classes(i)) != 1)
                raise ValueError(
                    f"criterion.{key}: found {single}, which takes one label per clip, but"
                    f" {manifest.location(clip)} has {len(labels.classes(clip))}; expected {other}"
                )
        absent = [self.descriptors[index].name for index in (labels.counts == 0).nonzero()[0]]
        if absent:
            logger.info(
                "%s: %d of %d classes have no clip here and are left out of mAP: %s",
                manifest.file, len(absent), len(self.descriptors), ", ".join(absent),
            )  # fmt: skip

    def kind_of(self, split: str, clip: int) -> str:
        """What a clip is, for the colours of a figure: its first label."""
        return self.descriptors[self.datasets[split].labels.classes(clip)[0]].name

    def valid_step(
        self, sample: Dict[str, Any], model: nn.Module, criterion: FairseqCriterion
    ) -> Tuple[Tensor, Any, Dict[str, Any]]:
        """Run a batch of a validation set, and keep the scores of all workers' batches."""
        sample = self.with_source(sample, model)
        loss, sample_size, log = super().valid_step(sample, model, criterion)
        batch = (sample["id"], log.pop("scores"), sample["target"])
        batch = _gather_from_workers(tuple(tensor.cpu().numpy() for tensor in batch))
        metric = self.cfg.metric
        validation_meter(metric, lambda: Predictions(metric)).update(*batch)
        return loss, sample_size, log


class Predictions(Meter):
    """Scores and targets of a validation set by clip, and a metric of the whole set.

    A clip that comes twice counts once: fairseq repeats batches for workers that have fewer.

    Args:
        metric: one of `eat.evaluation.metrics.METRICS`.
    """

    def __init__(self, metric: str) -> None:
        super().__init__()
        self._metric = metric
        self._rows: Dict[int, Tuple[np.ndarray, np.ndarray]] = {}

    def reset(self) -> None:
        """Forget all clips."""
        self._rows.clear()

    def update(self, clips: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> None:
        """Add a batch: (B,) numbers of the clips, (B, C) scores and (B, C) targets."""
        self._rows.update(zip(clips.tolist(), zip(scores, targets, strict=True), strict=True))

    @property
    def smoothed_value(self) -> float:
        """The metric of all clips, in the order of their numbers."""
        rows = [self._rows[clip] for clip in sorted(self._rows)]
        scores, targets = (np.stack(part) for part in zip(*rows, strict=True))
        if self._metric == "accuracy":
            return accuracy(scores, targets)
        return mean_over_classes(average_precisions(scores, targets)).value


def _gather_from_workers(batch: Tuple[np.ndarray, ...]) -> Tuple[np.ndarray, ...]:
    """Join the batches of all distributed workers; all of them must call this."""
    if not dist.is_initialized():
        return batch
    batches = [batch] * dist.get_world_size()
    dist.all_gather_object(batches, batch)
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
