"""Settings that contradict each other are refused at the start, by their keys."""

import re

import pytest
from fairseq.dataclass.configs import CheckpointConfig
from helpers import compose
from omegaconf import OmegaConf

from eat.evaluation import event_metrics
from eat.training.contradictions import check_settings


def settings(manifests, config="pretrain_tiny", **overrides):
    task = {"task__data": str(manifests), "dataset__valid_subset": "valid"}
    if config.startswith("finetune"):
        task["model__init_from"] = None
    cfg = compose(config, **{**task, **overrides})
    # As hydra fills in what the recipes leave out.
    cfg.checkpoint = OmegaConf.merge(OmegaConf.structured(CheckpointConfig), cfg.checkpoint)
    return cfg


@pytest.mark.parametrize(
    "config",
    [
        "pretrain_tiny",
        "pretrain_base",
        "pretrain_base_mixtures",
        "pretrain_large",
        "finetune_tiny",
        "finetune_as2m",
    ],
)
def test_the_recipes_hold_no_contradiction(manifests, config):
    check_settings(settings(manifests, config))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"lr_scheduler__warmup_updates": 20, "optimization__max_update": 3},
            "lr_scheduler.warmup_updates: found 20, expected 0 or more, and fewer than"
            " optimization.max_update=3",
        ),
        (
            {"lr_scheduler__warmup_updates": 3, "optimization__max_update": 3},
            "lr_scheduler.warmup_updates: found 3, expected 0 or more, and fewer",
        ),
        ({"lr_scheduler__warmup_updates": -1}, "lr_scheduler.warmup_updates: found -1"),
        ({"optimization__max_update": 0}, "optimization.max_update: found 0, expected 1 or more"),
        ({"optimization__lr": [-0.001]}, "optimization.lr: found [-0.001], expected one number"),
        ({"optimization__lr": [0.1, 0.2]}, "optimization.lr: found [0.1, 0.2], expected one"),
        (
            {"lr_scheduler__min_lr": 0.1},
            "lr_scheduler.min_lr: found 0.1, expected 0 up to the",
        ),
        ({"lr_scheduler__warmup_init_lr": 0.1}, "lr_scheduler.warmup_init_lr: found 0.1, expected"),
        ({"optimizer__min_lr": 1e-5}, "optimizer.min_lr: found 1e-05, expected that of the sched"),
        ({"common__fp16": True, "common__bf16": True}, "common.bf16: found True, expected false"),
        (
            {"common__bf16": True, "common__fp16_no_flatten_grads": False},
            "common.fp16_no_flatten_grads: found False, expected true",
        ),
        ({"common__seed": -1}, "common.seed: found -1, expected 0 to 4294967295"),
        ({"common__log_interval": 0}, "common.log_interval: found 0, expected 1 or more updates"),
        ({"dataset__batch_size": None}, "dataset.batch_size: found None, expected 1 or more clips"),
        (
            {"model__mixtures": True, "dataset__batch_size": 1},
            "dataset.batch_size: found 1, expected 2 or more clips with model.mixtures=true",
        ),
        ({"dataset__batch_size_valid": 0}, "dataset.batch_size_valid: found 0, expected"),
        ({"dataset__num_workers": -1}, "dataset.num_workers: found -1, expected 0 or more"),
        ({"optimization__update_freq": [0]}, "optimization.update_freq: found [0], expected whole"),
        ({"optimization__clip_norm": -1.0}, "optimization.clip_norm: found -1.0, expected 0"),
        ({"checkpoint__save_interval": 0}, "checkpoint.save_interval: found 0, expected 1 or more"),
        ({"dataset__validate_interval": 0}, "dataset.validate_interval: found 0, expected 1"),
        ({"task__save_interval_minutes": -1.0}, "task.save_interval_minutes: found -1.0, expected"),
        ({"task__stall_minutes": -1.0}, "task.stall_minutes: found -1.0, expected 0 (never)"),
        (
            {"task__save_interval_minutes": 0.0, "checkpoint__save_interval_updates": 5000},
            "task.save_interval_minutes: found 0.0, expected more than 0: neither checkpoint.save_",
        ),
        (
            {"dataset__disable_validation": True, "checkpoint__patience": 2},
            "checkpoint.patience: found 2, expected -1 with dataset.disable_validation=true",
        ),
        (
            {"checkpoint__best_checkpoint_metric": "mAP"},
            "checkpoint.best_checkpoint_metric: found mAP, expected one of loss, frame_loss",
        ),
        (
            {"checkpoint__maximize_best_checkpoint_metric": True},
            "checkpoint.maximize_best_checkpoint_metric: found True, expected False with",
        ),
        (
            {"checkpoint__best_checkpoint_metric": "probe_accuracy"},
            "checkpoint.best_checkpoint_metric: found probe_accuracy, expected one of loss, frame",
        ),
        (
            {
                "checkpoint__best_checkpoint_metric": "probe_logistic_accuracy",
                "task__probe_data": "labelled",
            },
            "checkpoint.best_checkpoint_metric: found probe_logistic_accuracy, expected one of",
        ),
        (
            {
                "checkpoint__best_checkpoint_metric": "probe_mAP_teacher",
                "task__probe_data": "labelled",
            },
            "checkpoint.maximize_best_checkpoint_metric: found False, expected True with",
        ),
        ({"task__data": "/nowhere"}, "task.data: found /nowhere, expected a folder with manifests"),
        (
            {"dataset__valid_subset": "valid,test"},
            "dataset.valid_subset: found test, expected a manifest in task.data; ",
        ),
        ({"dataset__train_subset": "trian"}, "holds train.tsv, valid.tsv"),
        (
            {"checkpoint__restore_file": "nowhere.pt"},
            "checkpoint.restore_file: found nowhere.pt, expected a checkpoint that exists",
        ),
    ],
)
def test_a_contradiction_is_named(manifests, overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_settings(settings(manifests, **overrides))


def test_a_best_checkpoint_has_the_highest_accuracy(manifests):
    with pytest.raises(ValueError, match="expected True with .*metric=accuracy"):
        check_settings(
            settings(manifests, "finetune_tiny", checkpoint__maximize_best_checkpoint_metric=False)
        )


def test_what_another_criterion_measures_is_not_known(manifests):
    cfg = settings(manifests, checkpoint__best_checkpoint_metric="mine")
    cfg.criterion = {"_name": "mine"}
    check_settings(cfg)


def test_all_contradictions_are_named_at_once(manifests):
    with pytest.raises(ValueError, match="(?s)common.seed: .*dataset.batch_size: "):
        check_settings(settings(manifests, common__seed=-1, dataset__batch_size=0))


TIMED = {
    "task__labels": "time",
    "model__pooling": "time",
    "criterion__loss": "bce",
    "criterion__metric": "mAP",
}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task__labels": "clips"}, "task.labels: found clips, expected clip or time"),
        ({"model__pooling": "cls"}, "model.pooling: found cls, expected time with task.labels"),
        (
            {"task__labels": "clip"},
            "model.pooling: found time, expected cls or mean with task.labels=clip",
        ),
        (
            {"criterion__loss": "cross_entropy"},
            "criterion.loss: found cross_entropy, expected bce with task.labels=time",
        ),
        (
            {"criterion__metric": "accuracy"},
            "criterion.metric: found accuracy, expected one of mAP, event_f1, segment_f1, psds",
        ),
        (
            {"task__labels": "clip", "model__pooling": "mean", "criterion__metric": "psds"},
            "criterion.metric: found psds, expected one of mAP, accuracy with task.labels=clip",
        ),
        (
            {"criterion__metric": "psds"},
            "found no sed_eval and no sed_scores_eval and no pkg_resources, expected them for",
        ),
        (
            {"checkpoint__maximize_best_checkpoint_metric": False},
            "found False, expected True with checkpoint.best_checkpoint_metric=mAP",
        ),
    ],
)
def test_labels_in_time_need_a_head_a_loss_and_a_metric_for_them(
    manifests, monkeypatch, overrides, message
):
    monkeypatch.setattr(event_metrics.importlib.util, "find_spec", lambda name: None)
    check_settings(settings(manifests, "finetune_tiny", **TIMED))
    with pytest.raises(ValueError, match=re.escape(message)):
        check_settings(settings(manifests, "finetune_tiny", **{**TIMED, **overrides}))
