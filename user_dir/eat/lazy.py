"""Names that a package offers, imported from its modules when they are first used (PEP 562).

`import eat` and `eat --help` are quick this way, and the libraries behind unused parts need not be
installed.
"""

import importlib
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple


def by_name(modules: Mapping[str, Sequence[str]]) -> Dict[str, str]:
    """The module of each name, out of the names of each module."""
    return {name: module for module, names in modules.items() for name in names}


def export(
    package: str, exports: Mapping[str, Sequence[str]], extra: Optional[str] = None
) -> Tuple[Callable[[str], Any], Callable[[], List[str]], List[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of the package of this `__name__`.

    `exports` are the public names of each module, which is relative to the package. An error about
    a missing library names the `extra` of pip install that brings it.
    """
    modules = by_name(exports)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(f".{modules[name]}", package), name)
        except ModuleNotFoundError as error:
            library = (error.name or "").split(".")[0]
            if extra is None or library in ("", "eat"):
                raise
            raise ModuleNotFoundError(
                f"found no {library}, which {package}.{name} needs:"
                f" pip install 'eat-fairseq[{extra}]'",
                name=error.name,
            ) from error
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> List[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, list_names, list(modules)
