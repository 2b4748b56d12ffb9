"""The fairseq door: `common.user_dir=user_dir` registers all that EAT adds to fairseq.

It also repairs fairseq where long runs need it; `eat/training/replacements.py` has the table.

All code is in the package `eat` beside this file. It is imported under that one name, whether it
was installed or this is a fresh checkout.
"""

import importlib
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
if os.path.isdir(os.path.join(_here, "eat")) and _here not in sys.path:
    sys.path.insert(0, _here)

# First, as it says which fairseq is missing what.
importlib.import_module("eat.training.replacements").install()
for _room in ("criterions", "models", "optim", "tasks"):
    importlib.import_module(f"eat.{_room}")
