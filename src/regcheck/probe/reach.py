"""What a model's functions hold on to: functions are not copied with a model, so a copy shares it with the original."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from torch import nn


def held_by_functions(model: nn.Module) -> Iterator[Any]:
    """Modules and containers that functions kept on the model (attributes, hooks) refer to through their closures."""
    seen: set[int] = set()
    todo = [(value, False) for module in model.modules() for value in vars(module).values()]
    while todo:
        value, held = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if held and isinstance(value, (nn.Module, list, dict, set, deque)):
            yield value
        todo += [(each, held or isinstance(value, FunctionType)) for each in _inside(value)]


def _inside(value: Any) -> Iterator[Any]:
    """What a function closes over, what a bound method or a partial is made of, what a container contains."""
    if isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not bound yet
                continue
        yield from value.__defaults__ or ()
        yield from vars(value).values()
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, deque)):
        yield from value
