import logging
import shutil

import pytest
import torch
from fairseq import criterions, models, tasks
from fairseq.logging import metrics
from helpers import compose

import eat
from eat.data.labels import LabelError
from eat.evaluation.event_metrics import Recordings
from eat.evaluation.metrics import average_precisions, mean_over_classes

ROOMS = (eat.tasks, eat.models, eat.criterions, eat.optim)  # imported, so that they register
MULTI_LABEL = {"criterion__loss": "bce", "criterion__metric": "mAP"}


def setup(folder, **overrides):
    return tasks.setup_task(compose("finetune_tiny", task__data=str(folder), **overrides).task)


def test_only_training_is_shuffled_drawn_and_augmented(labelled):
    task = setup(labelled, task__num_samples=5, task__min_samples=12_000)
    task.load_dataset("train")
    task.load_dataset("valid")
    train, valid = task.dataset("train"), task.dataset("valid")
    assert (train.shuffle, train.num_samples, train.augmentation.roll) == (True, 5, True)
    assert (valid.shuffle, valid.num_samples, valid.augmentation) == (False, None, None)
    # Short clips are not trained on, but a metric is one of all clips.
    assert len(train) < 24
    assert len(valid) == 9


def test_the_subset_to_train_on_is_the_one_that_the_config_names(labelled):
    task = setup(labelled, dataset__train_subset="valid")
    task.load_dataset("valid")
    task.load_dataset("train")
    assert task.dataset("valid").shuffle
    assert not task.dataset("train").shuffle


def validate(task, model, criterion, batches):
    """What fairseq's validation loop aggregates over a set."""
    criterion.eval()
    with metrics.aggregate(new_root=True) as aggregator:
        for batch in batches:
            _, _, log = task.valid_step(batch, model, criterion)
            assert "scores" not in log  # fairseq sums what is left over the workers
            with metrics.aggregate() as of_the_batch:
                task.reduce_metrics([log], criterion)
            assert task.cfg.metric not in of_the_batch.get_smoothed_values()
    return aggregator.get_smoothed_values()


def validation_of(cfg):
    """A task with its valid split, a model whose scores differ, its criterion, and the data."""
    task = tasks.setup_task(cfg.task)
    task.load_dataset("valid")
    cfg.model.init_from = None
    torch.manual_seed(0)
    model = models.build_model(cfg.model, task).eval()
    torch.nn.init.normal_(model.head.weight)
    return task, model, criterions.build_criterion(cfg.criterion, task), task.dataset("valid")


def test_the_metric_is_one_of_the_whole_set(multi_labelled):
    """In batches of any size, and whatever clips are repeated to fill up a worker's batches."""
    cfg = compose("finetune_tiny", task__data=str(multi_labelled), **MULTI_LABEL)
    task, model, criterion, data = validation_of(cfg)
    samples = [data[index] for index in range(9)]
    whole = data.collater(samples)
    with torch.no_grad():
        scores = model(**whole["net_input"]).numpy()
    expected = mean_over_classes(average_precisions(scores, whole["target"].numpy()))
    parts = [data.collater(samples[start : start + 4]) for start in (0, 4, 8, 0)]
    for batches in ([whole], parts):
        found = validate(task, model, criterion, batches)
        assert found["mAP"] == pytest.approx(expected, abs=1e-9)
    assert 0 < expected < 1


def test_classes_without_clips_are_named(multi_labelled, caplog):
    task = setup(multi_labelled, **MULTI_LABEL)
    with caplog.at_level(logging.INFO):
        task.load_dataset("valid")
    assert "1 of 3 classes have no clip here and are left out of mAP: high tone" in caplog.text


def test_the_state_describes_the_classes(labelled):
    state = setup(labelled).state_dict()
    assert state == {"labels": ["low tone", "middle tone", "high tone"], "activation": "softmax"}
    assert setup(labelled, criterion__loss="bce").state_dict()["activation"] == "sigmoid"


def test_other_classes_and_labels(labelled, tmp_path):
    def batches(manifests, **overrides):
        task = setup(manifests, **overrides)
        task.load_dataset("train")
        iterator = task.get_batch_iterator(task.dataset("train"), max_sentences=2)
        iterator.next_epoch_itr()
        return iterator

    state = batches(labelled).state_dict()
    batches(labelled).load_state_dict(state)
    batches(labelled).load_state_dict({k: v for k, v in state.items() if k != "task_state"})
    with pytest.raises(ValueError, match="found a checkpoint with other activation"):
        batches(labelled, criterion__loss="bce").load_state_dict(state)
    copied = shutil.copytree(labelled, tmp_path / "copied")
    descriptors = copied / "label_descriptors.csv"
    first, second, *rest = descriptors.read_text().splitlines()
    swapped = [second.replace("1,", "0,", 1), first.replace("0,", "1,", 1), *rest]
    descriptors.write_text("\n".join(swapped) + "\n")
    with pytest.raises(ValueError, match="restore_file: found a checkpoint with other labels"):
        batches(copied).load_state_dict(state)
    descriptors.write_text("0,/t/1,\n1,/t/0,\n2,/t/3,\n")
    with pytest.raises(LabelError, match=r"valid.lbl:3: found the label '/t/2', expected an id"):
        setup(copied).load_dataset("valid")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "criterion.metric: found accuracy, .*valid.tsv:3 has 2; expected mAP"),
        (
            {"criterion__metric": "mAP"},
            "criterion.loss: found cross_entropy, .*valid.tsv:3 has 2; expected bce",
        ),
        (
            {"criterion__metric": "mAP", "criterion__loss": "bce", "task__mixup_prob": 2.0},
            "task.mixup_prob: found 2.0, expected 0 to 1",
        ),
    ],
)
def test_settings_that_cannot_be(multi_labelled, settings, message):
    split = "train" if "task__mixup_prob" in settings else "valid"
    with pytest.raises(ValueError, match=message):
        setup(multi_labelled, **settings).load_dataset(split)


def test_the_model_is_as_large_as_its_start(labelled, official_pretrain):
    """Also in the configuration that fairseq saves."""
    cfg = compose("finetune_tiny", task__data=str(labelled))
    with pytest.raises(ValueError, match="model.init_from: not set, expected the checkpoint"):
        tasks.setup_task(cfg.task).build_model(cfg.model)
    cfg.model.init_from = official_pretrain
    model = tasks.setup_task(cfg.task).build_model(cfg.model)
    assert model.encoder.config.embed_dim == cfg.model.embed_dim == 48
    assert model.encoder.config.depth == cfg.model.depth == 3
    assert cfg.model.num_position_rows == 768


@pytest.mark.parametrize(
    "settings, now",
    [
        ({}, None),
        ({"task__high_hz": 8000.0}, None),  # as it was
        (
            {"task__sample_rate_hz": 32_000, "task__low_hz": 50, "task__hop_ms": 5},
            "50 to 16000 Hz in patches of 80 ms (recordings read at 32000 Hz, played at speed 1)",
        ),
        ({"task__speed": 0.1}, "200 to 80000 Hz in patches of 16 ms (recordings read at 160000 Hz"),
    ],
)
def test_another_front_end_than_the_checkpoints_is_warned_of(
    labelled, official_pretrain, caplog, settings, now
):
    cfg = compose("finetune_tiny", task__data=str(labelled), **settings)
    task = tasks.setup_task(cfg.task)
    cfg.model.init_from = official_pretrain
    task.build_model(cfg.model)
    messages = [message for message in caplog.messages if "was trained on" in message]
    assert len(messages) == (now is not None)
    if now is not None:
        before = "was trained on 20 to 8000 Hz in patches of 160 ms (recordings read at 16000 Hz, "
        assert before in messages[0] and f" make it {now}" in messages[0]
        task.load_dataset("valid")
        data = task.dataset("valid")
        assert data.log_mel.heard.startswith(now) and data[0]["source"].shape == (1, 128, 128)


TIMED = {
    "task__labels": "time",
    "model__pooling": "time",
    "criterion__loss": "bce",
    "criterion__metric": "mAP",
}


def test_a_metric_of_events_is_one_of_the_whole_set(timed):
    """Whatever the batches, and over the steps that are no padding."""
    cfg = compose("finetune_tiny", task__data=str(timed), task__time_step_ms=80.0, **TIMED)
    task, model, criterion, data = validation_of(cfg)
    samples = [data[index] for index in range(9)]
    scores, events, durations = {}, {}, {}
    for sample in samples:
        name = str(sample["id"])
        lengths = torch.tensor([sample["num_frames"]])
        with torch.no_grad():
            logits = model(sample["source"].unsqueeze(0), lengths)[0]
        scores[name] = logits.sigmoid().numpy()
        events[name] = data.events.events(sample["id"])
        durations[name] = sample["num_frames"] * 0.01
    recordings = Recordings(scores, events, durations, 0.08, ["a", "b", "c"])
    expected = recordings.measure(names=["mAP"])["mAP"]
    parts = [data.collater(samples[start : start + 4]) for start in (0, 4, 8, 0)]
    for batches in ([data.collater(samples)], parts):
        with torch.no_grad():
            found = validate(task, model, criterion, batches)
        assert found["mAP"] == pytest.approx(expected, abs=1e-6)
    assert 0 < expected < 1


@pytest.mark.parametrize("metric", ["event_f1", "segment_f1", "psds", "psds_macro"])
def test_metrics_of_events_with_thresholds_of_the_same_set(timed, metric):
    for name in ("sed_eval", "sed_scores_eval"):
        pytest.importorskip(name)
    cfg = compose("finetune_tiny", task__data=str(timed), **{**TIMED, "criterion__metric": metric})
    task = tasks.setup_task(cfg.task)
    task.load_dataset("valid")
    cfg.model.init_from = None
    model = models.build_model(cfg.model, task).eval()
    criterion = criterions.build_criterion(cfg.criterion, task)
    data = task.dataset("valid")
    batch = data.collater([data[clip] for clip in range(9)])
    model.forward = lambda source, lengths=None: batch["target"].float() * 8 - 4
    found = validate(task, model, criterion, [batch])
    assert found[metric] > 0.5


def test_the_state_in_time_holds_the_steps(timed):
    state = setup(timed, task__time_step_ms=40.0, **TIMED).state_dict()
    assert (state["steps_per_row"], state["activation"]) == (4, "sigmoid")
    for step_ms in (100.0, 320.0, 0.0):
        with pytest.raises(
            ValueError,
            match=f"time_step_ms: found {step_ms:g}, expected a part of a row: 160, 80, 40, 20",
        ):
            setup(timed, task__time_step_ms=step_ms, **TIMED)


def test_what_a_clip_with_events_is_called(timed):
    task = setup(timed, **TIMED)
    task.load_dataset("valid")
    assert task.kind_of("valid", 0) == "no events"
    names = {task.kind_of("valid", clip) for clip in range(1, 9)}
    assert names <= {"low tone", "middle tone", "high tone"}
    (timed / "valid.events.tsv").rename(timed / "elsewhere")
    try:
        with pytest.raises(FileNotFoundError, match="no such events: .*valid.events.tsv"):
            setup(timed, **TIMED).load_dataset("valid")
    finally:
        (timed / "elsewhere").rename(timed / "valid.events.tsv")
