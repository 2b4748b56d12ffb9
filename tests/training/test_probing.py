"""Probes at validation: the scores of `eat probe`, and a training that does not notice them."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from fairseq import models, tasks
from fairseq.logging import metrics
from helpers import MINIATURE, compose, write_labelled_split

import eat
from eat.audio import LogMel
from eat.data.sampling import draw_clips
from eat.evaluation import ProbeSettings, embed_clips, make_folds, score_vectors
from eat.evaluation.folds import read_clips

ROOMS = (eat.tasks, eat.models, eat.criterions, eat.optim)  # imported, so that they register
MINIATURE = {key.replace(".", "__"): int(value) for key, value in (s.split("=") for s in MINIATURE)}


def make_task(manifests, **overrides):
    settings = {**MINIATURE, "task__data": str(manifests), **overrides}
    torch.manual_seed(0)
    cfg = compose("pretrain_tiny", **settings)
    task = tasks.setup_task(cfg.task)
    task.load_dataset("valid")
    return task, models.build_model(cfg.model, task)


def log_of(task):
    """What a batch of a validation logs, besides the loss."""

    class Criterion:
        training = False

        @staticmethod
        def logging_outputs_can_be_summed():
            return True

        @staticmethod
        def reduce_metrics(logging_outputs):
            pass

    with metrics.aggregate(new_root=True) as meters:
        task.reduce_metrics([{"stop": 0, "save": 0, "nsentences": 1, "ntokens": 1}], Criterion())
    return meters.get_smoothed_values()


@pytest.mark.parametrize("kind", ["labelled", "multi_labelled"])
def test_scores_are_those_of_a_probe_of_the_mean(manifests, kind, request):
    folder = request.getfixturevalue(kind)
    limit = {"task__probe_clips": 30, "dataset__validate_interval_updates": 2}
    task, model = make_task(manifests, task__probe_data=str(folder), **limit)
    with torch.no_grad():
        model.teacher.encoder.blocks[0].mlp.fc1.weight.mul_(3)
    task.num_updates = 2  # of 3: without the regression, which is due at the fourth
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    model.train()
    threads = torch.get_num_threads()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task._prober.measure(model, 1, 2)
    assert torch.equal(states[0], torch.get_rng_state()) and states[2] == random.getstate()
    assert (states[1] == np.random.get_state()[1]).all() and threads == torch.get_num_threads()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    metric = "accuracy" if kind == "labelled" else "mAP"
    for num_updates, methods in ((2, ["knn"]), (3, ["knn", "logistic"])):  # 3 is the last
        task.num_updates = num_updates
        task.begin_valid_epoch(1, model)
        found = log_of(task)
        assert found.pop("probe_seconds") > 0
        expected = {}
        clips = read_clips(str(folder))
        clips = clips.select(draw_clips(33, 30, seed=1))
        for suffix, encoder in (("", model.encoder), ("_teacher", model.teacher.encoder)):
            encoder.eval().log_mel = LogMel(target_length=None)
            vectors = embed_clips(encoder, clips.paths, ["mean"], target_length=128)
            folds = make_folds(clips.targets, None, 5, seed=1)
            settings = ProbeSettings(methods=methods)
            for one in score_vectors(vectors, clips.targets, folds, settings):
                name = "probe_logistic" if one["method"] == "logistic" else "probe"
                expected[f"{name}_{metric}{suffix}"] = round(one["mean"], 4)
        assert {k: v for k, v in found.items() if k.startswith("probe")} == expected
        assert len(expected) == 2 * len(methods)
    assert expected[f"probe_{metric}"] > 0.4  # tones are told apart by a random network, too


def test_a_diverged_network_has_no_score_and_unreadable_clips_are_named(
    manifests, tmp_path, caplog
):
    write_labelled_split(tmp_path, "train", [["low"], ["high"]] * 4)  # fewer than folds
    task, model = make_task(manifests, task__probe_data=str(tmp_path))
    (tmp_path / "audio" / "train 3.wav").write_bytes(b"RIFF")
    task.begin_valid_epoch(1, model)
    assert log_of(task)["probe_accuracy"] > 0.3
    assert "task.probe_data: " in caplog.text and "train 3.wav: " in caplog.text
    torch.nn.init.constant_(model.encoder.cls_token, float("nan"))
    task.begin_valid_epoch(1, model)
    found = log_of(task)
    assert np.isnan(found["probe_accuracy"]) and found["probe_accuracy_teacher"] > 0.3
    (tmp_path / "audio").rename(tmp_path / "away")  # as a disk that does not answer
    task.begin_valid_epoch(1, model)
    assert np.isnan(log_of(task)["probe_accuracy_teacher"])
    assert "task.probe_data: none of 8 clips can be read, e.g. " in caplog.text


@pytest.mark.parametrize(
    ("classes", "overrides", "message"),
    [
        (None, {}, "task.probe_data: no such folder: "),
        ([], {}, "train.lbl, valid.lbl"),
        ([["low"]] * 12, {}, "found labels of 1 class, expected two or more"),
        ([["low"], ["high"]], {}, "task.probe_data: found 1 clips of the most frequent class, exp"),
        ([["low"], ["high"]] * 8, {"task__probe_clips": -1}, "task.probe_clips: found -1"),
        (
            [["low"], ["high"]] * 8,
            {"checkpoint__best_checkpoint_metric": "probe_mAP"},
            "checkpoint.best_checkpoint_metric: found probe_mAP, expected probe_accuracy with",
        ),
    ],
)
def test_what_cannot_be_probed_is_said_at_the_start(
    manifests, tmp_path, classes, overrides, message
):
    folder = tmp_path / "labelled"
    if classes is not None:
        folder.mkdir()
    if classes:
        write_labelled_split(folder, "train", classes)
    with pytest.raises(ValueError, match=re.escape(message)):
        make_task(manifests, task__probe_data=str(folder), **overrides)


def test_missing_audio_and_a_missing_library_are_said_at_the_start(
    manifests, labelled, tmp_path, monkeypatch
):
    write_labelled_split(tmp_path, "train", [["low"], ["high"]] * 8)
    (tmp_path / "audio").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="task.probe_data: .*train 0.wav"):
        make_task(manifests, task__probe_data=str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="found no scikit-learn"):
        make_task(manifests, task__probe_data=str(labelled))


def test_a_regression_is_due_at_every_so_many_validations(manifests, labelled):
    task, _ = make_task(manifests, task__probe_data=str(labelled), optimization__max_update=100)
    prober = task._prober

    def due(**settings):
        prober._cfg = replace(prober._cfg, **settings)
        asked = ((1, 9), (2, 10), (2, 20), (3, 30), (4, 40), (5, 100))
        return [n for epoch, n in asked if "logistic" in prober._methods(epoch, n)]

    assert due(validate_interval_updates=10) == [20, 40, 100]
    assert due(validate_interval_updates=0, validate_interval=1) == [10, 20, 40, 100]
    assert due(probe_logistic_interval=0) == []
