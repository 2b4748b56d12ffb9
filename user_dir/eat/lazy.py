"""Names that a package offers, imported from its modules when they are first used (PEP 562).

`import eat` and `eat --help` are quick this way, and nobody needs the libraries behind what they do
not use.
"""

import importlib
import sys
from typing import Any, Callable, List, Mapping, Tuple


def export(
    package: str, modules: Mapping[str, str]
) -> Tuple[Callable[[str], Any], Callable[[], List[str]], List[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: its `__name__`.
        modules: for each public name the module that defines it, relative to the package.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{modules[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> List[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, list_names, list(modules)
