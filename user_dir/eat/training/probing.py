"""A probe at every validation: how much of some labels the frozen features hold so far.

Losses and variances also look well in runs that learn nothing of use; this does not. It draws no
random number of those that the training draws, and changes no weight.
"""

import logging
import os
import time
from dataclasses import dataclass, replace
from typing import Dict, List, Optional

import numpy as np
import torch.distributed as dist
from torch import nn

from eat.audio import LogMel, audio_info
from eat.data.sampling import draw_clips
from eat.evaluation import ProbeSettings, embed_clips, score_vectors
from eat.evaluation.folds import Clips, Fold, count_parts, make_folds, read_clips
from eat.evaluation.metrics import METRICS, metric_for, require_scikit_learn
from eat.settings import setting

logger = logging.getLogger(__name__)

_PREFIXES = {"knn": "probe_", "logistic": "probe_logistic_"}
_ENCODERS = {"": lambda model: model.encoder, "_teacher": lambda model: model.teacher.encoder}
# All names of scores, for settings that are checked before the labels are known.
SCORES = [f"{prefix}{m}{s}" for prefix in _PREFIXES.values() for m in METRICS for s in _ENCODERS]


@dataclass
class ProbingConfig:
    """What is probed at validations, and how often."""

    probe_data: Optional[str] = setting(
        "folder of labelled clips, as `eat probe --data` takes it: at every validation nearest"
        " neighbours in the features of student and teacher are scored by them; null: none",
        None,
    )
    probe_clips: int = setting("labelled clips to use at most, drawn by the seed; 0: all", 500)
    probe_logistic_interval: int = setting(
        "also score a logistic regression at every so many validations, and the last; 0: never", 2
    )
    # Links, to number the validations, and to know which score chooses a checkpoint.
    validate_interval: int = "${dataset.validate_interval}"
    validate_interval_updates: int = "${dataset.validate_interval_updates}"
    best_checkpoint_metric: str = "${checkpoint.best_checkpoint_metric}"
    max_update: int = "${optimization.max_update}"


class Prober:
    """Probes student and teacher as `eat probe` does, by the mean of the last layer's patches.

    Clips are padded or cropped as in training, to `log_mel.target_length`.

    Raises:
        ModuleNotFoundError: there is no scikit-learn.
        ValueError: there are no labels to probe by, or no such score to choose checkpoints by.
    """

    def __init__(self, cfg: ProbingConfig, log_mel: LogMel, seed: int) -> None:
        require_scikit_learn()
        for key in ("probe_clips", "probe_logistic_interval"):
            if getattr(cfg, key) < 0:
                raise ValueError(f"task.{key}: found {getattr(cfg, key)}, expected 0 or more")
        self._cfg, self._log_mel = cfg, log_mel
        self._settings = ProbeSettings(pooling=["mean"], seed=seed)
        try:
            if not os.path.isdir(cfg.probe_data):
                raise FileNotFoundError(f"no such folder: {cfg.probe_data}")
            clips = read_clips(cfg.probe_data)
            self._clips = clips.select(draw_clips(len(clips.paths), cfg.probe_clips, seed))
            num_classes = int(self._clips.targets.any(axis=0).sum())
            if num_classes < 2:
                raise ValueError(
                    f"{cfg.probe_data}: found labels of {num_classes} class, expected two or more"
                )
            self._folds(self._clips)
            audio_info(self._clips.paths[0])
        except (ValueError, OSError) as error:
            raise ValueError(f"task.probe_data: {error}") from error
        self._metric = metric_for(self._clips.targets)
        best, found = cfg.best_checkpoint_metric, f"probe_{self._metric}"
        if best in SCORES and self._metric not in best:
            raise ValueError(
                f"checkpoint.best_checkpoint_metric: found {best}, expected {found} with the labels"
                f" of task.probe_data={cfg.probe_data}"
            )
        logger.info("%s: %d clips for %s", cfg.probe_data, len(self._clips.paths), found)

    def measure(self, model: nn.Module, epoch: int, num_updates: int) -> Dict[str, float]:
        """The scores and `probe_seconds`, by the names to log; the first worker's for all."""
        found = [None]
        if not dist.is_initialized() or dist.get_rank() == 0:
            found = [self._measure(model, self._methods(epoch, num_updates))]
        if dist.is_initialized():
            dist.broadcast_object_list(found)
        return found[0]

    def _methods(self, epoch: int, num_updates: int) -> List[str]:
        """The methods of this validation; a run that was resumed asks for the same."""
        cfg = self._cfg
        by_updates = cfg.validate_interval_updates
        number = num_updates // by_updates if by_updates else epoch // cfg.validate_interval
        interval, is_last = cfg.probe_logistic_interval, num_updates >= cfg.max_update > 0
        is_due = interval > 0 and (is_last or number > 0 == number % interval)
        return ["knn", "logistic"] if is_due else ["knn"]

    def _folds(self, clips: Clips) -> List[Fold]:
        """Those of `eat probe`, or as many as the clips allow."""
        number = min(self._settings.folds, count_parts(clips.targets, None)[1])
        return make_folds(clips.targets, None, number, self._settings.seed)

    def _measure(self, model: nn.Module, methods: List[str]) -> Dict[str, float]:
        started = time.perf_counter()
        settings, scores = replace(self._settings, methods=methods), {}
        for suffix, choose in _ENCODERS.items():
            encoder = choose(model).eval()  # the trainer sets the mode before each batch
            encoder.log_mel = replace(self._log_mel, target_length=None)
            length = self._log_mel.target_length
            paths, found = self._clips.paths, [{"method": one, "mean": np.nan} for one in methods]
            try:
                vectors = embed_clips(encoder, paths, ["mean"], None, 8, length, "probing")
                for failure in vectors.failures:
                    logger.warning("task.probe_data: %s: %s", *failure)
                clips = self._clips.select(vectors.clips)
                if all(np.isfinite(values).all() for values in vectors.values.values()):
                    found = score_vectors(vectors, clips.targets, self._folds(clips), settings)
            except ValueError as error:  # too few clips can be read now; the training goes on
                logger.warning("task.probe_data: %s", error)
            for one in found:
                scores[f"{_PREFIXES[one['method']]}{self._metric}{suffix}"] = one["mean"]
        return {**scores, "probe_seconds": time.perf_counter() - started}
