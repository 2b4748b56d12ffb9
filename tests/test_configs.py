"""The published figures, locked: a change of a recipe must be made here too."""

import dataclasses

import pytest
from helpers import REPOSITORY
from omegaconf import OmegaConf

from eat.criterions.ufo import UfoConfig
from eat.models.pretraining import PretrainingModelConfig
from eat.optim.adamw import AdamWConfig
from eat.tasks.pretraining import PretrainingTaskConfig

CONFIGS = sorted(path.stem for path in (REPOSITORY / "config").glob("pretrain_*.yaml"))
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
RECIPES = {
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
    sections = {
        "task": PretrainingTaskConfig,
        "model": PretrainingModelConfig,
        "criterion": UfoConfig,
        "optimizer": AdamWConfig,
    }
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
    assert lines[0] == "# @package _group_"
    header = lines[: lines.index("common:")]
    assert any(f"--config-name {name}" in line for line in header)
    assert any(line.startswith("# Hardware:") for line in header)
    assert any(line.startswith("# Expect:") for line in header)
    cfg = load(name)
    assert cfg.checkpoint.save_dir == f"checkpoints/{name}"
    assert OmegaConf.is_missing(cfg.task, "data")


def test_all_configs_have_the_same_keys():
    """Any override that works with one works with all."""
    keys = {name: _keys(OmegaConf.to_container(load(name))) for name in CONFIGS}
    assert keys["pretrain_base"] == keys["pretrain_large"] == keys["pretrain_tiny"]


def _keys(node, prefix=""):
    if not isinstance(node, dict):
        return {prefix}
    return {key for name, child in node.items() for key in _keys(child, f"{prefix}.{name}")}
