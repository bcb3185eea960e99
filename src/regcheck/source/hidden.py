"""Modules that a model's source keeps where neither `train()` nor `eval()` looks for them."""

from __future__ import annotations

from collections.abc import Iterator

from .values import Entries, Instance, Items, Module, Value, descendants, modules_in


def hidden_in(model: Module) -> frozenset[int]:
    """The ids of the modules in plain lists and dicts of a model."""
    owners = [each for _, each in descendants(model) if isinstance(each, Instance)]
    kept = (module for owner in owners for value in owner.cells.values() for module in _contained(value))
    return frozenset(id(each) for module in kept for _, each in descendants(module))


def _contained(value: Value) -> Iterator[Module]:
    if isinstance(value, (Items, Entries)):
        for each in value.items if isinstance(value, Items) else value.cells.values():
            yield from modules_in(each)
            yield from _contained(each)
