"""Modules that a model stores where `train()` and `eval()` do not reach them."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from torch import nn


def unregistered_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The unregistered modules in plain containers and closures of the model, and inside those modules."""
    registered = {id(each) for each in model.modules()}
    seen = set(registered)
    todo = [value for module in model.modules() for value in _own_attributes(module)]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield value
            todo += (*value._modules.values(), *_own_attributes(value))
        else:
            todo += referred_to(value)


def referred_to(value: Any) -> Iterator[Any]:
    """The variables that a function closes over, the parts of a bound method or partial, the items of a container."""
    if isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not bound yet
                continue
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from value


def _own_attributes(module: nn.Module) -> Iterator[Any]:
    """A module's own attributes, without torch's registries of parameters, submodules and hooks."""
    return (value for name, value in vars(module).items() if name not in vars(_EMPTY))


_EMPTY = nn.Module()
