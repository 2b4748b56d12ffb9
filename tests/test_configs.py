"""The published figures, locked: a change of a recipe must be made here too."""

import ast
import dataclasses
import re

import pytest
from helpers import REPOSITORY, compose
from omegaconf import OmegaConf

from eat import machine
from eat.criterions.classification import ClassificationConfig
from eat.criterions.ufo import UfoConfig
from eat.models.classification import ClassificationModelConfig
from eat.models.pretraining import PretrainingModelConfig
from eat.optim.adamw import AdamWConfig
from eat.tasks.classification import ClassificationTaskConfig
from eat.tasks.pretraining import PretrainingTaskConfig

CONFIGS = sorted(path.stem for path in (REPOSITORY / "config").glob("*_*.yaml"))
CLASSES = {
    "pretrain": (PretrainingTaskConfig, PretrainingModelConfig, UfoConfig, AdamWConfig),
    "finetune": (
        *(ClassificationTaskConfig, ClassificationModelConfig),
        *(ClassificationConfig, AdamWConfig),
    ),
}
# By recipe: its settings, those of the base before those that differ.
PRETRAIN = """
common: {fp16: true, seed: 1}
task: {mean: -4.268, std: 4.569, target_length: 1024, min_samples: 10000}
dataset: {batch_size: 12}
criterion: {utterance_weight: 192.0}
optimizer: {adam_betas: [0.9, 0.95], adam_eps: 1e-8, weight_decay: 0.05, decay_1d: true}
lr_scheduler: {_name: cosine, warmup_updates: 53333, warmup_init_lr: 0.0, min_lr: 0.0}
optimization: {max_update: 400000, clip_norm: 4.0, update_freq: [1]}
model:
  {mlp_ratio: 4.0, norm_eps: 1e-6, patch_size: 16, num_mel_bins: 128, num_position_rows: 768,
   num_clones: 16, mask_block_size: 5, decoder_groups: 16, mask_noise_std: 0.01,
   ema_decay: 0.9998, ema_end_decay: 0.99999}
"""
# The values in which the four released fine-tuning scripts agree.
FINETUNE = """
common: {fp16: true, seed: 1}
task: {min_samples: 10000, num_samples: null, roll: true, mixup_prob: 0.9}
optimizer:
  {adam_betas: [0.9, 0.95], adam_eps: 1e-8, weight_decay: 0.05, decay_1d: true, min_lr: 1e-6}
lr_scheduler: {_name: cosine, min_lr: 1e-6, warmup_init_lr: -1.0}
optimization: {clip_norm: 0.0, update_freq: [1], lr: [5e-5]}
checkpoint: {maximize_best_checkpoint_metric: true}
model:
  {weights: student, pooling: cls, drop_path: 0.1, layer_decay: 0.65, embed_dim: 768, depth: 12,
   num_heads: 12}
"""
AUDIOSET = """
task:
  {mean: -4.268, std: 4.569, target_length: 1024, noise: false, mixup_alpha: 0.8,
   spec_augment_ratio: 0.2}
criterion: {loss: bce, reduction: labels, label_smoothing: 0.0, metric: mAP}
checkpoint: {best_checkpoint_metric: mAP}
"""
AS2M = """
task: {num_samples: 200000}
dataset: {batch_size: 96}
lr_scheduler: {warmup_updates: 30000}
optimization: {max_update: 300000}
"""
AS20K = """
dataset: {batch_size: 48}
lr_scheduler: {warmup_updates: 4000}
optimization: {max_update: 40000}
"""
ESC50 = """
task:
  {mean: -6.627, std: 5.359, target_length: 512, noise: false, mixup_alpha: 0.0,
   spec_augment_ratio: 0.4}
criterion: {loss: cross_entropy, reduction: clips, label_smoothing: 0.1, metric: accuracy}
checkpoint: {best_checkpoint_metric: accuracy}
dataset: {batch_size: 48}
lr_scheduler: {warmup_updates: 400}
optimization: {max_update: 4000}
"""
# Released: a label smoothing of 0.1, which its mixup ignores.
SPCV2 = """
common: {seed: 42}
task:
  {mean: -6.846, std: 5.565, target_length: 128, noise: true, mixup_alpha: 0.8,
   spec_augment_ratio: 0.2}
criterion: {loss: bce, reduction: clips, label_smoothing: 0.0, metric: accuracy}
checkpoint: {best_checkpoint_metric: accuracy}
dataset: {batch_size: 256}
lr_scheduler: {warmup_updates: 4000}
optimization: {max_update: 40000, lr: [2e-4]}
"""
BASE = """
optimization: {lr: [5e-4]}
model:
  {embed_dim: 768, depth: 12, num_heads: 12, mask_ratio: 0.8, mask_ratio_adjust: 0.07,
   decoder_depth: 6, decoder_kernel_size: 3, ema_anneal_updates: 100000, average_top_k_layers: 12}
"""
LARGE = """
optimization: {lr: [4e-4]}
model:
  {embed_dim: 1024, depth: 24, num_heads: 16, mask_ratio: 0.75, mask_ratio_adjust: 0.10,
   decoder_depth: 3, decoder_kernel_size: 5, ema_anneal_updates: 150000, average_top_k_layers: 24}
"""
# SSLAM's second stage: what its released script changes.
MIXTURES = """
lr_scheduler: {warmup_updates: 25000}
optimization: {max_update: 200000, lr: [5e-5]}
criterion: {source_weight: 1.0}
model: {num_clones: 8, mixtures: true, unmixed_ratio: 0.469, utterance_top_k_layers: 1}
"""
RECIPES = {
    "finetune_as2m": (FINETUNE, AUDIOSET, AS2M),
    "finetune_as20k": (FINETUNE, AUDIOSET, AS20K),
    "finetune_esc50": (FINETUNE, ESC50),
    "finetune_spcv2": (FINETUNE, SPCV2),
    "pretrain_base": (PRETRAIN, BASE),
    "pretrain_base_mixtures": (PRETRAIN, BASE, MIXTURES),
    "pretrain_large": (PRETRAIN, LARGE),
}


def load(name):
    return OmegaConf.load(REPOSITORY / "config" / f"{name}.yaml")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe(name):
    cfg, expected = load(name), OmegaConf.merge(*map(OmegaConf.create, RECIPES[name]))
    found = {key: {k: cfg[key][k] for k in values} for key, values in expected.items()}
    assert found == OmegaConf.to_container(expected)


def test_the_best_tiny_recipe_differs_in_what_its_experiment_trains():
    """`examples/best_recipe` sets these on `pretrain_tiny`, for as much time."""
    run = (REPOSITORY / "examples" / "best_recipe" / "run.py").read_text()
    best = ast.literal_eval(re.search(r"^BEST = (.*)$", run, re.MULTILINE)[1])
    of_length = {
        "checkpoint.save_dir": "checkpoints/pretrain_tiny_best",
        "checkpoint.save_interval_updates": 1000,
        "dataset.validate_interval_updates": 1000,
        "task.collapse_after_updates": 1000,
        "lr_scheduler.warmup_updates": 300,
        "optimization.max_update": 3700,
    }
    expected = load("pretrain_tiny")
    for key, value in {**best, **of_length}.items():
        OmegaConf.update(expected, key, value)
    assert load("pretrain_tiny_best") == expected


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_spelled_out(name):
    """Hydra composes before the plugin is imported: a key that is absent cannot be overridden."""
    cfg = load(name)
    sections = ("task", "model", "criterion", "optimizer")
    for section, config_class in zip(sections, CLASSES[name.split("_")[0]], strict=True):
        keys = {
            field.name
            for field in dataclasses.fields(config_class)
            if not (isinstance(field.default, str) and field.default.startswith("${"))
        }
        assert set(cfg[section]) == keys | {"_name"}, section


def _explained(path):
    """The settings of a yaml, section.key, and whether there is a comment beside or above each."""
    found, section, before = {}, "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(  )?(\w+):", line):
            section = section if match[1] else match[2]
            if match[1]:
                found[f"{section}.{match[2]}"] = "# " in line or before.startswith("  # ")
        before = line
    return found


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "config").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_every_setting_is_explained(path):
    """In its yaml or in the one that the first lines of the recipes name."""
    config = REPOSITORY / "config"
    explaining = [path, config / "pretrain_base.yaml"]
    if path.stem.startswith("finetune"):
        explaining.append(config / "finetune_as20k.yaml")
    explained = {key for file in explaining for key, is_it in _explained(file).items() if is_it}
    assert not set(_explained(path)) - explained


def test_bf16_is_advised_where_the_machine_check_finds_it():
    """One definition: `eat.machine`, which `eat doctor` prints and the examples use."""
    readme = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{unit}`" in readme for unit in machine._CPU_BF16_UNITS)
    for name in ("config/pretrain_tiny.yaml", "config/finetune_tiny.yaml", "config/README.md"):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert re.search(r"multiplies bf16 in hardware \(`?eat doctor`? says so", text), name
    guide = (REPOSITORY / "examples" / "pretrain_your_audio.md").read_text(encoding="utf-8")
    assert "multiplies bf16 in hardware (`eat doctor` says so)" in guide


def test_the_settings_for_any_number_of_labels_are_the_same_everywhere():
    settings = "criterion.loss=bce criterion.metric=mAP criterion.reduction=labels"
    for name in ("finetune_tiny.yaml", "README.md", "../examples/finetune_your_labels.md"):
        text = (REPOSITORY / "config" / name).read_text(encoding="utf-8")
        words = re.sub(r"[#\s]+", " ", text)
        assert re.search(rf"[Aa]ny number of labels[^.]*?{re.escape(settings)}", words), name
    assert OmegaConf.create(AUDIOSET).criterion.reduction == "labels"


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


@pytest.mark.parametrize("kind, number", [("pretrain", 5), ("finetune", 7)])
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


def test_a_small_classifier_takes_the_mean_of_the_patches():
    """After a short pre-training CLS holds less: 0.435 against 0.531 in the quickstart's probe."""
    assert load("finetune_tiny").model.pooling == "mean"
    guide = (REPOSITORY / "examples" / "finetune_your_labels.md").read_text(encoding="utf-8")
    assert "| `model.pooling` | mean | cls |" in guide
