"""Adapters, one module a tool: how to install it, what it imports, and how to read its output.

An adapter has

- `REQUIREMENTS`: what pip installs into the tool's environment; empty for what runs in regcheck's own;
- `PYTHON`: the command of the interpreter, where the tool needs an older one;
- `prepare()`: imports what all examinations need; its time does not count;
- `WAY`: `source`, `model` or `run`: what the tool looks at;
- `examine(task)`: runs in a process of its own, in the folder of the case, and returns messages. A task has
  `folder`, `model` (the class to build, or "") and `advice` (the kind, if no tool needs to report it by default).

A message has `text`, and where the tool says so `file`, `line` and `kind` (the folder of the cases that it is about).
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def tools() -> dict[str, ModuleType]:
    """The adapters by name, in the order of the table: regcheck's doors first."""
    names = sorted((m.name for m in pkgutil.iter_modules(__path__)), key=lambda n: (not n.startswith("regcheck"), n))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names if not name.startswith("_")}
