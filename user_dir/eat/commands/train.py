"""`eat train`: a recipe, with the settings that differ."""

from dataclasses import dataclass
from typing import ClassVar, List

from .options import argument


@dataclass(kw_only=True)
class Options:
    """Run a recipe with `fairseq-hydra-train`, and show progress and time left.

    It checks the names of the settings, then hands everything on. Ctrl-C saves the run where it
    is, and the same command continues it. The exit status is that of the training.
    """

    EXAMPLE: ClassVar[str] = "eat train pretrain_tiny task.data=manifests/mine"

    config: str = argument("a recipe of config/, or the path of another yaml", metavar="CONFIG")
    settings: List[str] = argument(
        "a setting that differs from the recipe's, section.key=value", "KEY=VALUE", default=()
    )


def run(options: Options) -> int:
    """Train."""
    from eat.training.launch import run_recipe

    return run_recipe(options.config, options.settings)
