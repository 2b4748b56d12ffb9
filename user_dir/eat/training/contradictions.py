"""Settings that contradict each other, found before anything is loaded."""

import os
from numbers import Real
from typing import Any, Iterator

from eat.data.corpora import check_weights, folders_of
from eat.evaluation.event_metrics import EVENT_METRICS, require_event_metrics
from eat.evaluation.metrics import METRICS

from .probing import SCORES
from .record import LAST_CHECKPOINT

_FREE_SEEDS = 2**32  # numpy's


def check_settings(cfg: Any) -> None:
    """Check the whole configuration of a training.

    Raises:
        ValueError: with one line for each contradiction.
    """
    checks = (_precision, _schedule, _batches, _intervals, _best, _labels, _data, _start)
    found = [one for check in checks for one in check(cfg)]
    if found:
        raise ValueError("\n".join(found))


def _problem(key: str, found: Any, expected: str) -> str:
    return f"{key}: found {found}, expected {expected}"


def _precision(cfg: Any) -> Iterator[str]:
    common = cfg.common
    if common.fp16 and common.bf16:
        yield _problem("common.bf16", True, "false with common.fp16=true (or the other way)")
    if (common.fp16 or common.bf16) and not common.fp16_no_flatten_grads:
        yield _problem(
            "common.fp16_no_flatten_grads", False, "true with common.fp16 or common.bf16"
        )
    if not 0 <= common.seed < _FREE_SEEDS:
        yield _problem("common.seed", common.seed, f"0 to {_FREE_SEEDS - 1}")
    if common.log_interval < 1:
        yield _problem("common.log_interval", common.log_interval, "1 or more updates")


def _schedule(cfg: Any) -> Iterator[str]:
    rates, schedule = list(cfg.optimization.lr), cfg.lr_scheduler
    if len(rates) != 1 or not isinstance(rates[0], Real) or not rates[0] > 0:
        yield _problem("optimization.lr", rates, "one number above 0 in brackets, such as [0.0005]")
        return
    if schedule is None or schedule._name != "cosine":
        return
    if not 0 <= schedule.min_lr <= rates[0]:
        peak = f"0 up to the peak, optimization.lr={rates}"
        yield _problem("lr_scheduler.min_lr", schedule.min_lr, peak)
    if schedule.warmup_init_lr > rates[0]:
        peak = f"at most the peak, optimization.lr={rates}; or -1, the same as min_lr"
        yield _problem("lr_scheduler.warmup_init_lr", schedule.warmup_init_lr, peak)
    if cfg.optimizer.get("min_lr", schedule.min_lr) != schedule.min_lr:
        same = f"that of the scheduler, lr_scheduler.min_lr={schedule.min_lr}"
        yield _problem("optimizer.min_lr", cfg.optimizer.min_lr, same)
    last, warmup = schedule.max_update, schedule.warmup_updates
    if last < 1:
        yield _problem("optimization.max_update", last, "1 or more: the cosine ends there")
    elif not 0 <= warmup < last:
        fewer = f"0 or more, and fewer than optimization.max_update={last}"
        yield _problem("lr_scheduler.warmup_updates", warmup, fewer)


def _batches(cfg: Any) -> Iterator[str]:
    data, factors = cfg.dataset, list(cfg.optimization.update_freq)
    if data.batch_size is None or data.batch_size < 1:
        yield _problem("dataset.batch_size", data.batch_size, "1 or more clips")
    elif cfg.model.get("mixtures") and data.batch_size < 2:
        yield _problem("dataset.batch_size", 1, "2 or more clips with model.mixtures=true")
    if data.batch_size_valid is not None and data.batch_size_valid < 1:
        yield _problem("dataset.batch_size_valid", data.batch_size_valid, "1 or more clips")
    for key in ("num_workers", "data_buffer_size"):
        if data[key] < 0:
            yield _problem(f"dataset.{key}", data[key], "0 or more")
    if not factors or any(not isinstance(f, int) or f < 1 for f in factors):
        whole = "whole numbers of 1 or more in brackets, such as [1]"
        yield _problem("optimization.update_freq", factors, whole)
    if cfg.optimization.clip_norm < 0:
        yield _problem("optimization.clip_norm", cfg.optimization.clip_norm, "0 or more")


def _intervals(cfg: Any) -> Iterator[str]:
    save, data, ends = cfg.checkpoint, cfg.dataset, cfg.optimization
    for section, key in (("checkpoint", "save_interval"), ("dataset", "validate_interval")):
        if cfg[section][key] < 1:
            yield _problem(f"{section}.{key}", cfg[section][key], "1 or more epochs")
    for section, key in (
        *(("checkpoint", "save_interval_updates"), ("dataset", "validate_interval_updates")),
        *(("task", "save_interval_minutes"), ("task", "stall_minutes")),
        ("optimization", "max_epoch"),
    ):
        if cfg[section][key] < 0:
            yield _problem(f"{section}.{key}", cfg[section][key], "0 (never) or more")
    last = ends.max_update
    # An epoch has an update or more, so there are at most as many epochs.
    epochs = min(last, ends.max_epoch or last)
    by_updates = 0 < save.save_interval_updates <= last
    is_saved = cfg.task.save_interval_minutes or by_updates or save.save_interval <= epochs
    if not is_saved and last > 0:
        yield _problem(
            "task.save_interval_minutes",
            cfg.task.save_interval_minutes,
            f"more than 0: neither checkpoint.save_interval={save.save_interval} nor"
            f" checkpoint.save_interval_updates={save.save_interval_updates} saves before the end"
            f" (optimization.max_update={last})",
        )
    if data.disable_validation and save.patience > 0:
        yield _problem(
            "checkpoint.patience", save.patience, "-1 with dataset.disable_validation=true"
        )


def _best(cfg: Any) -> Iterator[str]:
    """A best checkpoint by a metric that is not measured, or chosen the wrong way round."""
    save = cfg.checkpoint
    metric, maximizes = save.best_checkpoint_metric, save.maximize_best_checkpoint_metric
    known, rising = ["loss"], (*METRICS, *EVENT_METRICS, *SCORES)
    if cfg.criterion._name == "ufo":
        known += ["frame_loss", "utterance_loss", "target_var", "prediction_var"]
        if cfg.task.probe_data:
            # The others are not measured at every validation.
            is_always = cfg.task.probe_logistic_interval == 1
            known += [score for score in SCORES if is_always or "logistic" not in score]
    elif "metric" in cfg.criterion:
        known.append(cfg.criterion.metric)
    else:
        return  # a criterion of somebody's own, which may log anything
    if metric not in known:
        yield _problem("checkpoint.best_checkpoint_metric", metric, f"one of {', '.join(known)}")
    elif maximizes if metric.endswith("loss") else metric in rising and not maximizes:
        yield _problem(
            "checkpoint.maximize_best_checkpoint_metric",
            maximizes,
            f"{not maximizes} with checkpoint.best_checkpoint_metric={metric}",
        )


def _labels(cfg: Any) -> Iterator[str]:
    """Labels in time with a head, loss or metric of clips, or the other way round."""
    if cfg.criterion._name != "eat_classification":
        return
    labels, criterion, pooling = cfg.task.labels, cfg.criterion, cfg.model.pooling
    with_labels = f"with task.labels={labels}"
    if labels not in ("clip", "time"):
        yield _problem("task.labels", labels, "clip or time")
    elif (labels == "time") != (pooling == "time"):
        expected = "time" if labels == "time" else "cls or mean"
        yield _problem("model.pooling", pooling, f"{expected} {with_labels}")
    if labels == "time" and cfg.task.filter_bank == "device":
        yield _problem("task.filter_bank", "device", f"worker {with_labels}")
    if labels == "time" and criterion.loss == "cross_entropy":
        yield _problem("criterion.loss", criterion.loss, f"bce {with_labels}")
    possible = ("mAP", *EVENT_METRICS) if labels == "time" else METRICS
    if criterion.metric not in possible:
        expected = f"one of {', '.join(possible)} {with_labels}"
        yield _problem("criterion.metric", criterion.metric, expected)
    elif criterion.metric in EVENT_METRICS:
        try:
            require_event_metrics()
        except ModuleNotFoundError as error:
            yield str(error)


def _data(cfg: Any) -> Iterator[str]:
    data, splits = cfg.dataset, {"train_subset": [cfg.dataset.train_subset]}
    if not data.disable_validation:
        splits["valid_subset"] = data.valid_subset.split(",")
    try:
        folders = folders_of(cfg.task.data)
        check_weights(cfg.task.weights, len(folders))
    except ValueError as error:
        yield str(error)
        return
    for folder in folders:
        if not os.path.isdir(folder):
            there = "a folder with manifests; there is no such folder"
            yield _problem("task.data", folder, there)
            continue
        names = sorted(name for name in os.listdir(folder) if name.endswith(".tsv"))
        there = f"{folder} holds {', '.join(names) or 'no manifest (.tsv)'}"
        for key, parts in splits.items():
            for part in parts:
                if f"{part}.tsv" not in names:
                    yield _problem(f"dataset.{key}", part, f"a manifest in task.data; {there}")


def _start(cfg: Any) -> Iterator[str]:
    """A checkpoint to start from that is not there: fairseq would start from nothing."""
    path = cfg.checkpoint.restore_file
    if path != LAST_CHECKPOINT and not os.path.exists(path):
        yield _problem(
            "checkpoint.restore_file", path, f"a checkpoint that exists, or {LAST_CHECKPOINT}"
        )
