"""The helpers for configurations that hold the settings of several components."""

from dataclasses import dataclass, field, fields
from typing import Optional

from omegaconf import II, OmegaConf

from eat.settings import linked, part_of


@dataclass
class Part:
    """Settings of one component."""

    ratio: float = field(default=0.8, metadata={"help": "share"})
    name: Optional[str] = None


@dataclass
class Whole(linked(Part, "model")):
    """A component that needs the settings of `Part` besides its own."""

    seed: int = 1


def test_links_take_the_values_of_the_section() -> None:
    cfg = OmegaConf.create(
        {"model": OmegaConf.structured(Part(0.5, "a")), "task": OmegaConf.structured(Whole)}
    )
    assert (cfg.task.ratio, cfg.task.name, cfg.task.seed) == (0.5, "a", 1)
    assert part_of(Part, cfg.task) == Part(0.5, "a")


def test_links_keep_types_and_help() -> None:
    ratio, name, seed = fields(Whole)
    assert (ratio.default, ratio.type, ratio.metadata["help"]) == (
        II("model.ratio"),
        float,
        "share",
    )
    assert name.type == Optional[str]
    assert seed.default == 1
