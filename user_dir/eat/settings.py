"""fairseq's flat configurations: several components' dataclasses in one."""

from dataclasses import fields
from typing import Any, Type, TypeVar

Config = TypeVar("Config")


def part_of(config_class: Type[Config], cfg: Any) -> Config:
    """The plain dataclass of one component out of a configuration that holds more."""
    return config_class(**{f.name: getattr(cfg, f.name) for f in fields(config_class)})
