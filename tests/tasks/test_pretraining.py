from types import SimpleNamespace

import pytest
import torch
from fairseq import models, tasks
from fairseq.tasks import FairseqTask
from helpers import compose
from omegaconf.errors import ConfigKeyError

import eat

ROOMS = (eat.tasks, eat.models, eat.criterions, eat.optim)  # imported, so that they register


def load_train(manifests=None, **overrides):
    data = {"task__data": str(manifests)} if manifests else {}
    task = tasks.setup_task(compose("pretrain_tiny", **data, **overrides).task)
    task.load_dataset("train")
    return task


def test_masks_follow_the_model_s_settings(manifests):
    task = load_train(manifests, model__num_clones=3, model__mask_ratio=0.5)
    assert task.dataset("train")[0]["mask"].shape == (3, 64)
    assert task.dataset("train")[0]["mask"].sum(dim=1).tolist() == [32] * 3
    task.load_dataset("valid")
    assert task.dataset("train").shuffle and not task.dataset("valid").shuffle


def test_the_filter_bank_on_the_device(manifests, monkeypatch):
    task = load_train(manifests, task__filter_bank="device")
    task.load_dataset("valid")
    train, valid = task.dataset("train"), task.dataset("valid")
    assert train.on_device and not valid.on_device
    batch, seen = train.collater([train[0], train[1]]), []
    keep = lambda self, sample, *args: (seen.append(sample) or torch.zeros(()), 1, {})  # noqa: E731
    monkeypatch.setattr(FairseqTask, "train_step", keep)
    monkeypatch.setattr(FairseqTask, "valid_step", keep)
    model, optimizer = torch.nn.Linear(1, 1).bfloat16(), SimpleNamespace()
    task.train_step(sample=batch, model=model, criterion=None, optimizer=optimizer, update_num=0)
    task.valid_step(batch, model, None)
    expected = load_train(manifests).dataset("train")
    expected = expected.collater([expected[0], expected[1]])["net_input"]["source"].bfloat16()
    assert all(torch.equal(sample["net_input"]["source"], expected) for sample in seen)
    assert len(seen) == 2 and "waveforms" in batch  # fairseq keeps the first batch


def test_the_teacher_moves_after_each_optimizer_step(manifests):
    cfg = compose(
        "pretrain_tiny", task__data=str(manifests), model__depth=1, model__average_top_k_layers=1
    )
    task = tasks.setup_task(cfg.task)
    model = models.build_model(cfg.model, task)
    before = model.teacher.encoder.cls_token.clone()

    class Optimizer:
        def step(self):
            with torch.no_grad():
                model.encoder.cls_token.add_(1.0)

    task.optimizer_step(Optimizer(), model=model, update_num=0)
    moved = (model.teacher.encoder.cls_token - before).mean().item()
    assert moved == pytest.approx(1 - (0.998 + 0.0019 / 1000), rel=1e-3)


@pytest.mark.parametrize(
    "setting, value, message",
    [
        ("task__target_length", 100, "target_length: found 100, expected a positive multiple"),
        ("model__mask_block_size", 9, "mask_block_size: found 9, expected 1 to 8"),
        ("task__bad_audio", "ignore", "task.bad_audio: found 'ignore', expected error or skip"),
        ("task__max_bad_ratio", 5, "task.max_bad_ratio: found 5.0, expected 0 to 1"),  # percent
        ("task__filter_bank", "gpu", "task.filter_bank: found 'gpu', expected one of"),
        ("task__data", "nowhere", "no such manifest: .*nowhere/train.tsv .*eat manifest folder"),
        ("task__data", "???", "task.data: not set, expected the folder of the manifests"),
        pytest.param(
            *("common__fp16", True, "common.fp16: found true without a GPU"),
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="is possible with a GPU"),
        ),
    ],
)
def test_impossible_settings(manifests, setting, value, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_train(**{"task__data": str(manifests), setting: value})


@pytest.mark.parametrize("section", ["task", "model", "criterion", "optimizer"])
def test_a_wrong_key_in_a_yaml_is_named(section):
    with pytest.raises(ConfigKeyError, match="Key 'mask_ratoi' not in"):
        compose("pretrain_tiny", **{f"{section}__mask_ratoi": 0.5})


def test_a_run_that_made_all_its_updates_is_not_continued(manifests):
    task = load_train(manifests, optimization__max_update=5)
    with pytest.raises(SystemExit) as ended:
        task.train_step({}, model=None, criterion=None, optimizer=None, update_num=5)
    assert ended.value.code == 0
