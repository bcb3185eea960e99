"""Modules that a model keeps where neither `train()` nor `eval()` looks for them."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from torch import nn


def hidden_in(model: nn.Module) -> Iterator[nn.Module]:
    """The modules in plain containers and closures of the model, and in those modules, that are not registered."""
    registered = {id(each) for each in model.modules()}
    seen = set(registered)
    todo = [value for module in model.modules() for value in _kept(module)]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield value
            todo += (*value._modules.values(), *_kept(value))
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            todo += value
        elif isinstance(value, FunctionType):
            todo += (each for cell in value.__closure__ or () for each in _contents(cell))
        elif isinstance(value, MethodType):
            todo += (value.__self__, value.__func__)
        elif isinstance(value, functools.partial):
            todo += (value.func, *value.args, *value.keywords.values())


def _kept(module: nn.Module) -> Iterator[Any]:
    """A module's own attributes, without torch's bookkeeping of parameters, submodules and hooks."""
    return (value for name, value in vars(module).items() if name not in vars(_EMPTY))


def _contents(cell: Any) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # not bound yet
        return


_EMPTY = nn.Module()
