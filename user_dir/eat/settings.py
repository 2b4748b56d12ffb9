"""Dataclasses of settings: declared once, and joined to fairseq's flat configurations."""

from dataclasses import MISSING, field, fields, make_dataclass
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


def setting(help_text: str, default: Any = MISSING, **metadata: Any) -> Any:
    """A documented field of a dataclass of settings, or of a subcommand's options.

    `help_text` is then the help of the option, and `metadata` what else an option may say of
    itself, such as `choices`, see `eat.commands.options`.
    """
    metadata = {"help": help_text, **metadata}
    if isinstance(default, (list, tuple)):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)
