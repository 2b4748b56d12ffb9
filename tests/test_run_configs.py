"""config/run_config: where a recipe runs, as hydra composes it."""

import pytest
from helpers import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from eat.training.workers import Place, find_place

RECIPES = ("pretrain_base", "pretrain_large", "finetune_as2m")


@pytest.fixture
def composed():
    """`composed(recipe, *overrides)` -> the configuration, hydra's own included."""
    # In place of the launcher's package: its settings that we set, with other values.
    names = (
        "submitit_folder nodes gpus_per_node tasks_per_node cpus_per_task mem_gb timeout_min"
        " signal_delay_s name"
    )
    settings = dict.fromkeys(names.split())
    ConfigStore.instance().store(group="hydra/launcher", name="submitit_slurm", node=settings)

    def run(recipe, *overrides):
        with initialize_config_dir(str(REPOSITORY / "config")):
            return compose(recipe, list(overrides), return_hydra_config=True)

    return run


@pytest.mark.parametrize("recipe", RECIPES)
def test_local(composed, recipe):
    cfg = composed(recipe, "+run_config=local")
    assert cfg.distributed_training.distributed_world_size == 4
    assert cfg.distributed_training.ddp_backend == "pytorch_ddp"  # the recipe's own
    cfg = composed(recipe, "+run_config=local", "distributed_training.distributed_world_size=2")
    assert cfg.distributed_training.distributed_world_size == 2


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("machines", ["slurm", "slurm_cpu"])
def test_slurm(composed, recipe, machines):
    cfg = composed(recipe, f"+run_config={machines}", "hydra/launcher=submitit_slurm")
    launcher = cfg.hydra.launcher
    gpus = launcher.gpus_per_node or 1
    assert launcher.tasks_per_node == gpus  # a worker for each
    assert launcher.submitit_folder == "./slurm/%j"
    assert launcher.name == recipe
    # Paths stay relative to where the command is given, as without Slurm.
    assert (cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir, cfg.hydra.run.dir) == (".", ".", ".")


def test_torchrun(composed, monkeypatch):
    cfg = composed("pretrain_base", "+run_config=torchrun")
    for name, value in {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    place = find_place(cfg.distributed_training, {}, num_gpus=4)
    assert place == Place(8, 5, 1, "env://")


@pytest.mark.parametrize("recipe", sorted((REPOSITORY / "config").glob("*.yaml")), ids=str)
def test_every_recipe_loads_the_plugin_before_the_workers(composed, recipe):
    logging = OmegaConf.to_container(composed(recipe.stem), resolve=False)["hydra"]["job_logging"]
    plugin = {"()": "runpy.run_path", "path_name": "${common.user_dir}/__init__.py"}
    assert logging["filters"] == {"plugin_in_common_user_dir": plugin}


def test_both_keep_the_clips_per_update_of_the_recipe(composed):
    for overrides in (
        ["+run_config=local"],
        ["+run_config=slurm", "hydra/launcher=submitit_slurm"],
    ):
        cfg = composed("pretrain_base", *overrides)
        launcher = cfg.hydra.launcher
        world_size = (
            launcher.nodes * launcher.tasks_per_node
            if "nodes" in launcher
            else cfg.distributed_training.distributed_world_size
        )
        assert world_size * cfg.dataset.batch_size * cfg.optimization.update_freq[0] == 48
