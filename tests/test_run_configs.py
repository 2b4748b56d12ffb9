"""config/run_config: where a recipe runs, as hydra composes it."""

import pytest
from helpers import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

RECIPES = ("pretrain_base", "pretrain_large", "finetune_as2m")


@pytest.fixture
def composed():
    """`composed(recipe, *overrides)` -> the configuration, hydra's own included."""
    # In place of the launcher's package: its settings that we set, with other values.
    names = (
        "submitit_folder nodes gpus_per_node tasks_per_node cpus_per_task mem_gb timeout_min name"
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
def test_slurm(composed, recipe):
    cfg = composed(recipe, "+run_config=slurm", "hydra/launcher=submitit_slurm")
    launcher, training = cfg.hydra.launcher, cfg.distributed_training
    assert launcher.nodes * launcher.gpus_per_node == training.distributed_world_size
    assert launcher.tasks_per_node == launcher.gpus_per_node
    assert training.distributed_port > 0  # else fairseq does not look at Slurm's variables
    assert launcher.submitit_folder == "./slurm/%j"
    assert launcher.name == recipe
    # Paths stay relative to where the command is given, as without Slurm.
    assert (cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir, cfg.hydra.run.dir) == (".", ".", ".")


def test_both_keep_the_clips_per_update_of_the_recipe(composed):
    for overrides in (
        ["+run_config=local"],
        ["+run_config=slurm", "hydra/launcher=submitit_slurm"],
    ):
        cfg = composed("pretrain_base", *overrides)
        world_size = cfg.distributed_training.distributed_world_size
        assert world_size * cfg.dataset.batch_size * cfg.optimization.update_freq[0] == 48
