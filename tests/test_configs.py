"""The published figures, locked: a change of a recipe must be made here too."""

import dataclasses

import pytest
from helpers import REPOSITORY, compose
from omegaconf import OmegaConf

from eat.criterions.classification import ClassificationConfig
from eat.criterions.ufo import UfoConfig
from eat.models.classification import ClassificationModelConfig
from eat.models.pretraining import PretrainingModelConfig
from eat.optim.adamw import AdamWConfig
from eat.tasks.classification import ClassificationTaskConfig
from eat.tasks.pretraining import PretrainingTaskConfig

CONFIGS = sorted(path.stem for path in (REPOSITORY / "config").glob("*_*.yaml"))
PRETRAINING = {
    "task": PretrainingTaskConfig,
    "model": PretrainingModelConfig,
    "criterion": UfoConfig,
    "optimizer": AdamWConfig,
}
FINETUNING = {
    "task": ClassificationTaskConfig,
    "model": ClassificationModelConfig,
    "criterion": ClassificationConfig,
    "optimizer": AdamWConfig,
}
BOTH = {
    "common.fp16": True,
    "common.seed": 1,
    "task.mean": -4.268,
    "task.std": 4.569,
    "task.target_length": 1024,
    "task.min_samples": 10_000,
    "dataset.batch_size": 12,
    "criterion.utterance_weight": 192.0,
    "optimizer.adam_betas": [0.9, 0.95],
    "optimizer.adam_eps": 1e-8,
    "optimizer.weight_decay": 0.05,
    "optimizer.decay_1d": True,
    "lr_scheduler._name": "cosine",
    "lr_scheduler.warmup_updates": 53_333,
    "lr_scheduler.warmup_init_lr": 0.0,
    "lr_scheduler.min_lr": 0.0,
    "optimization.max_update": 400_000,
    "optimization.clip_norm": 4.0,
    "optimization.update_freq": [1],
    "model.mlp_ratio": 4.0,
    "model.norm_eps": 1e-6,
    "model.patch_size": 16,
    "model.num_mel_bins": 128,
    "model.num_position_rows": 768,
    "model.num_clones": 16,
    "model.mask_block_size": 5,
    "model.decoder_groups": 16,
    "model.mask_noise_std": 0.01,
    "model.ema_decay": 0.9998,
    "model.ema_end_decay": 0.99999,
}
# The values in which the four released fine-tuning scripts agree.
FINETUNED = {
    "common.fp16": True,
    "task.min_samples": 10_000,
    "task.roll": True,
    "task.mixup_prob": 0.9,
    "optimizer.adam_betas": [0.9, 0.95],
    "optimizer.adam_eps": 1e-8,
    "optimizer.weight_decay": 0.05,
    "optimizer.decay_1d": True,
    "optimizer.min_lr": 1e-6,
    "lr_scheduler._name": "cosine",
    "lr_scheduler.min_lr": 1e-6,
    "lr_scheduler.warmup_init_lr": -1.0,
    "optimization.clip_norm": 0.0,
    "optimization.update_freq": [1],
    "checkpoint.maximize_best_checkpoint_metric": True,
    "model.weights": "student",
    "model.pooling": "cls",
    "model.drop_path": 0.1,
    "model.layer_decay": 0.65,
    "model.embed_dim": 768,
    "model.depth": 12,
    "model.num_heads": 12,
}
AUDIOSET = {
    **FINETUNED,
    "common.seed": 1,
    "task.mean": -4.268,
    "task.std": 4.569,
    "task.target_length": 1024,
    "task.noise": False,
    "task.mixup_alpha": 0.8,
    "task.spec_augment_ratio": 0.2,
    "criterion.loss": "bce",
    "criterion.reduction": "labels",
    "criterion.label_smoothing": 0.0,
    "criterion.metric": "mAP",
    "checkpoint.best_checkpoint_metric": "mAP",
    "optimization.lr": [5e-5],
}
RECIPES = {
    "finetune_as2m": {
        **AUDIOSET,
        "task.num_samples": 200_000,
        "dataset.batch_size": 96,
        "lr_scheduler.warmup_updates": 30_000,
        "optimization.max_update": 300_000,
    },
    "finetune_as20k": {
        **AUDIOSET,
        "task.num_samples": None,
        "dataset.batch_size": 48,
        "lr_scheduler.warmup_updates": 4_000,
        "optimization.max_update": 40_000,
    },
    "finetune_esc50": {
        **FINETUNED,
        "common.seed": 1,
        "task.mean": -6.627,
        "task.std": 5.359,
        "task.target_length": 512,
        "task.num_samples": None,
        "task.noise": False,
        "task.mixup_alpha": 0.0,
        "task.spec_augment_ratio": 0.4,
        "criterion.loss": "cross_entropy",
        "criterion.reduction": "clips",
        "criterion.label_smoothing": 0.1,
        "criterion.metric": "accuracy",
        "checkpoint.best_checkpoint_metric": "accuracy",
        "dataset.batch_size": 48,
        "lr_scheduler.warmup_updates": 400,
        "optimization.max_update": 4_000,
        "optimization.lr": [5e-5],
    },
    "finetune_spcv2": {
        **FINETUNED,
        "common.seed": 42,
        "task.mean": -6.846,
        "task.std": 5.565,
        "task.target_length": 128,
        "task.num_samples": None,
        "task.noise": True,
        "task.mixup_alpha": 0.8,
        "task.spec_augment_ratio": 0.2,
        "criterion.loss": "bce",
        "criterion.reduction": "clips",
        # Released: 0.1, which its mixup ignores.
        "criterion.label_smoothing": 0.0,
        "criterion.metric": "accuracy",
        "checkpoint.best_checkpoint_metric": "accuracy",
        "dataset.batch_size": 256,
        "lr_scheduler.warmup_updates": 4_000,
        "optimization.max_update": 40_000,
        "optimization.lr": [2e-4],
    },
    "pretrain_base": {
        **BOTH,
        "optimization.lr": [5e-4],
        "model.embed_dim": 768,
        "model.depth": 12,
        "model.num_heads": 12,
        "model.mask_ratio": 0.8,
        "model.mask_ratio_adjust": 0.07,
        "model.decoder_depth": 6,
        "model.decoder_kernel_size": 3,
        "model.ema_anneal_updates": 100_000,
        "model.average_top_k_layers": 12,
    },
    "pretrain_large": {
        **BOTH,
        "optimization.lr": [4e-4],
        "model.embed_dim": 1024,
        "model.depth": 24,
        "model.num_heads": 16,
        "model.mask_ratio": 0.75,
        "model.mask_ratio_adjust": 0.10,
        "model.decoder_depth": 3,
        "model.decoder_kernel_size": 5,
        "model.ema_anneal_updates": 150_000,
        "model.average_top_k_layers": 24,
    },
}


def load(name):
    return OmegaConf.load(REPOSITORY / "config" / f"{name}.yaml")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe(name):
    cfg = load(name)
    found = {key: OmegaConf.select(cfg, key) for key in RECIPES[name]}
    assert found == RECIPES[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_spelled_out(name):
    """Hydra composes before the plugin is imported: a key that is absent cannot be overridden."""
    cfg = load(name)
    sections = PRETRAINING if name.startswith("pretrain_") else FINETUNING
    for section, config_class in sections.items():
        keys = {
            field.name
            for field in dataclasses.fields(config_class)
            if not (isinstance(field.default, str) and field.default.startswith("${"))
        }
        assert set(cfg[section]) == keys | {"_name"}, section


@pytest.mark.parametrize("name", CONFIGS)
def test_form(name):
    path = REPOSITORY / "config" / f"{name}.yaml"
    lines = path.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    header = lines[: lines.index("common:")]
    assert any(f"--config-name {name}" in line for line in header)
    for fact in ("Hardware", "Time", "Expect"):
        assert any(line.startswith(f"# {fact}: ") for line in header), fact
    assert all(len(line) <= 100 for line in lines)
    cfg = load(name)
    assert cfg.checkpoint.save_dir == f"checkpoints/{name}"
    assert OmegaConf.is_missing(cfg.task, "data")
    assert name.startswith("pretrain_") or OmegaConf.is_missing(cfg.model, "init_from")


@pytest.mark.parametrize("kind, number", [("pretrain", 3), ("finetune", 5)])
def test_all_configs_of_a_kind_have_the_same_keys(kind, number):
    """Any override that works with one works with all."""
    keys = [_keys(OmegaConf.to_container(load(n))) for n in CONFIGS if n.startswith(kind)]
    assert len(keys) == number
    assert all(found == keys[0] for found in keys)


def _keys(node, prefix=""):
    if not isinstance(node, dict):
        return {prefix}
    return {key for name, child in node.items() for key in _keys(child, f"{prefix}.{name}")}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_learning_rate_ends_at_its_minimum_and_stays_low(name):
    """fairseq's cosine has periods; what it logs last is the rate of an update that is not made."""
    from fairseq.optim import FairseqOptimizer
    from fairseq.optim.lr_scheduler import build_lr_scheduler

    cfg = compose(name).lr_scheduler
    optimizer = FairseqOptimizer(None)
    optimizer.set_lr = lambda lr: None
    step = build_lr_scheduler(cfg, optimizer).step_update
    assert step(cfg.warmup_updates) == pytest.approx(cfg.lr[0])
    assert step(cfg.max_update - 1) == pytest.approx(cfg.min_lr, abs=1e-3 * cfg.lr[0])
    assert step(cfg.max_update) == step(cfg.max_update + 10) == 0
