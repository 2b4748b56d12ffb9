"""fairseq's flat configurations: the settings of several components in one dataclass."""

from dataclasses import field, fields, make_dataclass
from typing import Any, Type, TypeVar, get_type_hints

Config = TypeVar("Config")


def part_of(config_class: Type[Config], cfg: Any) -> Config:
    """The plain dataclass of one component out of a configuration that holds more."""
    return config_class(**{f.name: getattr(cfg, f.name) for f in fields(config_class)})


def linked(config_class: Type[Any], section: str) -> Type[Any]:
    """A dataclass with the fields of another, whose values are links to a section of the yaml.

    A component that needs the settings of another inherits from it, and each setting still
    stands once: the default of `mask_ratio`, linked to "model", is "${model.mask_ratio}".
    """
    types = get_type_hints(config_class)
    links = [
        (f.name, types[f.name], field(default=f"${{{section}.{f.name}}}", metadata=f.metadata))
        for f in fields(config_class)
    ]
    return make_dataclass(f"Linked{config_class.__name__}", links)
