"""The fairseq door: `common.user_dir=user_dir` registers all that EAT adds to fairseq.

It also makes fairseq write checkpoints that are complete or absent, never execute one it reads, and
save the end of every run.

Everything lives in the package `eat` beside this file, which is imported under that one name,
whether it was installed or this is a fresh checkout.
"""

import importlib
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
if os.path.isdir(os.path.join(_here, "eat")) and _here not in sys.path:
    sys.path.insert(0, _here)

for _room in ("criterions", "models", "optim", "tasks"):
    importlib.import_module(f"eat.{_room}")
for _module in ("checkpoint_files", "last_epoch"):
    importlib.import_module(f"eat.training.{_module}").install()
