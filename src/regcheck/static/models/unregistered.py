"""Modules in plain lists and dicts, which neither `train()` nor `eval()` reaches."""

from __future__ import annotations

from regcheck.static.interpreter.values import Entries, Instance, Items, Module, descendants, leaves


def unregistered_modules(model: Module) -> frozenset[int]:
    """The ids of the modules in plain lists and dicts of a model."""
    owners = [each for _, each in descendants(model) if isinstance(each, Instance)]
    values = (value for owner in owners for value in owner.cells.values() if isinstance(value, (Items, Entries)))
    hidden = {id(each): each for each in leaves(*values) if isinstance(each, Module) and each.is_module}
    return frozenset(id(each) for module in hidden.values() for _, each in descendants(module))
