"""How to run on several GPUs and nodes: config/run_config, composed as fairseq-hydra-train does."""

from dataclasses import dataclass
from typing import Optional

import pytest
from helpers import REPOSITORY
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

RECIPES = sorted(path.stem for path in (REPOSITORY / "config").glob("*_*.yaml"))


@dataclass
class SubmititSlurm:
    """The settings of hydra-submitit-launcher 1.2 that are used, as it declares them."""

    _target_: str = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    submitit_folder: str = "${hydra.sweep.dir}/.submitit/%j"
    timeout_min: int = 60
    cpus_per_task: Optional[int] = None
    gpus_per_node: Optional[int] = None
    tasks_per_node: int = 1
    mem_gb: Optional[int] = None
    nodes: int = 1
    name: str = "${hydra.job.name}"
    partition: Optional[str] = None
    max_num_timeout: int = 0


def compose(recipe, *overrides):
    hydra = pytest.importorskip("hydra")
    if hydra.__version__.startswith("1.0."):
        from hydra.experimental import compose, initialize_config_dir
    else:
        from hydra import compose, initialize_config_dir
    with initialize_config_dir(config_dir=str(REPOSITORY / "config")):
        return compose(recipe, overrides=list(overrides), return_hydra_config=True)


@pytest.mark.parametrize("recipe", RECIPES)
def test_local(recipe):
    alone, local = compose(recipe), compose(recipe, "+run_config=local")
    assert local.distributed_training.distributed_world_size == 4
    for section in ("task", "model", "criterion", "optimizer", "optimization", "checkpoint"):
        found, expected = (OmegaConf.to_container(c[section]) for c in (local, alone))
        assert found == expected, section


@pytest.mark.parametrize("config", ["local", "slurm"])
def test_the_recipe_s_batch_stays(config):
    if config == "slurm":
        ConfigStore.instance().store(
            group="hydra/launcher", name="submitit_slurm", node=SubmititSlurm()
        )
    launcher = ["hydra/launcher=submitit_slurm"] if config == "slurm" else []
    cfg = compose("pretrain_base", f"+run_config={config}", *launcher)
    num_gpus = cfg.distributed_training.distributed_world_size
    assert num_gpus * cfg.dataset.batch_size * cfg.optimization.update_freq[0] == 48


def test_slurm_starts_a_process_for_each_gpu():
    ConfigStore.instance().store(
        group="hydra/launcher", name="submitit_slurm", node=SubmititSlurm()
    )
    cfg = compose(
        *("pretrain_base", "+run_config=slurm", "hydra/launcher=submitit_slurm"),
        "hydra.launcher.partition=gpu",
    )
    launcher = cfg.hydra.launcher
    # What fairseq checks in each process.
    assert launcher.tasks_per_node == launcher.gpus_per_node
    assert launcher.nodes * launcher.tasks_per_node == (
        cfg.distributed_training.distributed_world_size
    )
    assert cfg.distributed_training.distributed_port > 0
    assert cfg.dataset.num_workers < launcher.cpus_per_task
    assert (launcher.partition, cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir) == ("gpu", ".", ".")


@pytest.mark.parametrize("config", ["local", "slurm"])
def test_form(config):
    lines = (REPOSITORY / "config" / "run_config" / f"{config}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert any(f"+run_config={config}" in line for line in lines)
