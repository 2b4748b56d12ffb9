"""The code of an exported Hugging Face folder: one file that stands alone.

transformers runs the Python files of a model's folder. One file, because transformers 4 does not
find a second one if the folder's name has a dot in it; and put together from our modules rather
than written a second time, because filter bank, positions and blocks have one definition.
"""

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Dict, List, Set, Tuple

from eat.audio import SAMPLE_RATE_HZ, log_mel
from eat.nn import patches, transformer

CODE_NAME = "modeling_eat"

# The classes for transformers, and what they import from `eat`: modules to write out, and a number.
_CLASSES = Path(__file__).with_name("huggingface_model.py")
_MODULES: Tuple[ModuleType, ...] = (log_mel, patches, transformer)
_NUMBER = f"SAMPLE_RATE_HZ = {SAMPLE_RATE_HZ:_}"

_HEADER = """# Written by `eat convert --to huggingface`; the source of each part is named above it.
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 EAT-fairseq contributors
"""


def model_code() -> str:
    """`modeling_eat.py`: the classes for transformers, their imports from `eat` written out."""
    parts = {module.__name__: inspect.getsource(module) for module in _MODULES}
    # Gradients written by hand are for training here: what is exported are the plain formulas.
    parts = {name: re.sub(r"^@by_hand.*\n", "", text, flags=re.M) for name, text in parts.items()}
    parts["eat.checkpoint.huggingface_model"] = _CLASSES.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(parts["eat.checkpoint.huggingface_model"]), clean=False)
    names: Dict[str, Set[str]] = defaultdict(set)
    bodies: List[str] = []
    for name, source in parts.items():
        bodies.append(f"# ---- {name}\n\n\n{_split(source, names)}")
    imports = [_import_line(module, names[module]) for module in sorted(names)]
    head = [f'{_HEADER}"""{docstring}"""', "\n".join(imports), _NUMBER]
    return "\n\n".join(head) + "\n\n" + "\n\n".join(bodies)


def _split(source: str, names: Dict[str, Set[str]]) -> str:
    """What follows the imports of a module; adds what it imports from elsewhere to `names`."""
    end = 0
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            end = node.end_lineno or end
            _collect(node, names)
    return "\n".join(source.splitlines()[end:]).strip("\n") + "\n"


def _collect(node: "ast.Import | ast.ImportFrom", names: Dict[str, Set[str]]) -> None:
    """Imports of whole modules go under "", as `torch` or `numpy as np`."""
    imported = [ast.unparse(alias) for alias in node.names]
    if isinstance(node, ast.Import):
        names[""].update(imported)
    elif not node.level and not (node.module or "").startswith("eat."):
        names[node.module or ""].update(imported)


def _import_line(module: str, names: Set[str]) -> str:
    if not module:
        return "\n".join(f"import {name}" for name in sorted(names))
    return f"from {module} import {', '.join(sorted(names))}"
