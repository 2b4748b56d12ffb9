"""The task `eat_classification`: clips with labels, and a metric of whole validation sets."""

import logging
import os
from dataclasses import dataclass, fields
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

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
from eat.data.event_targets import labels_of
from eat.data.events import Event, EventTable, read_events
from eat.data.labels import (
    DESCRIPTORS_FILE,
    Label,
    LabelTable,
    describe_difference,
    read_descriptors,
    read_labels,
)
from eat.evaluation.event_metrics import Recordings
from eat.evaluation.metrics import measure
from eat.settings import part_of, setting
from eat.training.validation import validation_meter

from .audio import AudioTask, AudioTaskConfig

logger = logging.getLogger(__name__)


@dataclass
class ClassificationTaskConfig(AugmentationConfig, AudioTaskConfig):
    """Data, front end and augmentation."""

    num_samples: Optional[int] = setting(
        "training clips of an epoch, drawn without replacement, those of rare classes more often"
        " (released AS-2M: 200000); null: all of them",
        None,
    )
    labels: str = setting(
        "clip: {split}.lbl tells the classes of each clip; time: {split}.events.tsv tells when they"
        " sound, and the classifier scores steps of time",
        "clip",
    )
    time_step_ms: float = setting(
        "with labels=time, a step in ms of the recording: a row of patches (160) or a part of it"
        " (80, 40)",
        160.0,
    )
    # Links: set once in the criterion's section.
    loss: str = II("criterion.loss")
    metric: str = II("criterion.metric")


@register_task("eat_classification", dataclass=ClassificationTaskConfig)
class ClassificationTask(AudioTask):
    """Serve clips with their labels, and score each validation set as a whole.

    `descriptors` are the classes in the order of the logits.
    """

    cfg: ClassificationTaskConfig

    def __init__(self, cfg: ClassificationTaskConfig) -> None:
        super().__init__(cfg)
        self.descriptors = self._read_classes()
        # Stored in every checkpoint, so that using one needs no other file.
        labels = [label.name for label in self.descriptors]
        self.state.merge_state_dict({"labels": labels, "activation": ACTIVATIONS.get(cfg.loss)})
        self.steps_per_row = 1
        if cfg.labels == "time":
            self.steps_per_row = self._count_steps()
            self.state.merge_state_dict({"steps_per_row": self.steps_per_row})

    def _count_steps(self) -> int:
        """The steps of a row of patches; a ValueError unless they are a whole number."""
        row_ms, size = 1000 * self.log_mel.step_seconds, self.log_mel.patch_size
        possible = [count for count in range(1, size + 1) if size % count == 0]
        for count in possible:
            if abs(count * self.cfg.time_step_ms - row_ms) < 1e-6 * row_ms:
                return count
        steps = ", ".join(f"{row_ms / count:g}" for count in possible)
        found = f"found {self.cfg.time_step_ms:g}"
        raise ValueError(f"task.time_step_ms: {found}, expected a part of a row: {steps}")

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
        """Open `{data}/{split}.tsv` and its labels, in each folder of `data`.

        These are `{data}/{split}.lbl`, or with labels in time `{data}/{split}.events.tsv`.

        Raises:
            FileNotFoundError: there is no such manifest, or it has no labels.
            ManifestError, LabelError: a bad line.
            ValueError: impossible settings, or a loss or metric that does not fit the labels.
        """
        cfg, clips = self.cfg, self.clips_of(split)
        is_timed, tables = cfg.labels == "time", []
        read, ending = (read_events, "events.tsv") if is_timed else (read_labels, "lbl")
        for folder, part in zip(folders_of(cfg.data), clips["manifest"].parts, strict=True):
            classes_file = os.path.join(folder, DESCRIPTORS_FILE)
            file = os.path.join(folder, f"{split}.{ending}")
            tables.append(read(file, part, self.descriptors, classes_file))
        if is_timed:
            clips["events"] = EventTable.join(tables)
            clips["steps_per_row"] = self.steps_per_row
            tables = [labels_of(clips["events"])]
        labels = LabelTable.join(tables)
        self._check_labels(labels, clips["manifest"])
        if split == cfg.train_subset:
            clips["augmentation"] = part_of(AugmentationConfig, cfg)
            clips["num_samples"] = cfg.num_samples
        else:
            clips["min_samples"] = 0  # a metric is one of all clips, however short
        self.datasets[split] = ClassificationDataset(**clips, labels=labels)

    def _check_labels(self, labels: LabelTable, manifest: AnyManifest) -> None:
        for key, single, other in (("metric", "accuracy", "mAP"), ("loss", "cross_entropy", "bce")):
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
        classes = self.datasets[split].labels.classes(clip)
        return self.descriptors[classes[0]].name if len(classes) else "no events"

    def valid_step(
        self, sample: Dict[str, Any], model: nn.Module, criterion: FairseqCriterion
    ) -> Tuple[Tensor, Any, Dict[str, Any]]:
        """Run a batch of a validation set, and keep the scores of all workers' batches."""
        sample = self.with_source(sample, model)
        loss, sample_size, log = super().valid_step(sample, model, criterion)
        scores, metric = log.pop("scores").cpu(), self.cfg.metric
        if self.cfg.labels == "time":
            columns = (scores.sigmoid().numpy(), sample["num_frames"].tolist(), sample["events"])
            measure_all = self._measure_events
        else:
            columns = (scores.numpy(), sample["target"].cpu().numpy())
            measure_all = self._measure_clips
        rows = _gather_from_workers(list(zip(sample["id"].tolist(), *columns, strict=True)))
        validation_meter(metric, lambda: Predictions(measure_all)).update(rows)
        return loss, sample_size, log

    def _measure_clips(self, scores: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
        return measure(self.cfg.metric, np.stack(scores), np.stack(targets))

    def _measure_events(
        self, scores: Sequence[np.ndarray], frames: Sequence[int], events: Sequence[List[Event]]
    ) -> float:
        """The metric of clips by their scores (N, C), frames that are no padding, and events.

        Thresholds and median filter are those with which this validation set is best.
        """
        log_mel, metric = self.log_mel, self.cfg.metric
        names = [str(clip) for clip in range(len(scores))]
        data = Recordings(
            dict(zip(names, scores, strict=True)),
            dict(zip(names, events, strict=True)),
            {n: log_mel.frame_seconds * count for n, count in zip(names, frames, strict=True)},
            log_mel.step_seconds / self.steps_per_row,
            [label.name for label in self.descriptors],
        )
        chosen = None if metric == "mAP" else data.choose_thresholds()
        return data.measure(chosen, [metric])[metric]


class Predictions(Meter):
    """Scores and targets of a validation set by clip, and a metric of the whole set.

    A clip that comes twice counts once: fairseq repeats batches for workers that have fewer.
    `measure_all` takes the columns of all clips in the order of their numbers.
    """

    def __init__(self, measure_all: Callable[..., float]) -> None:
        super().__init__()
        self._measure = measure_all
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._rows: Dict[int, Sequence[Any]] = {}
        self._value: Optional[float] = None

    def update(self, rows: Sequence[Tuple[Any, ...]]) -> None:
        """Add a batch: for each clip its number, then the values of the columns."""
        self._rows.update((clip, values) for clip, *values in rows)
        self._value = None

    @property
    def smoothed_value(self) -> float:
        """The metric of all clips."""
        if self._value is None:  # asked for more than once, and it may take seconds
            rows = [self._rows[clip] for clip in sorted(self._rows)]
            self._value = self._measure(*zip(*rows, strict=True))
        return self._value


def _gather_from_workers(rows: List[Any]) -> List[Any]:
    """Join the lists of all distributed workers; all of them must call this."""
    if not dist.is_initialized():
        return rows
    lists = [rows] * dist.get_world_size()
    dist.all_gather_object(lists, rows)
    return [row for part in lists for row in part]
