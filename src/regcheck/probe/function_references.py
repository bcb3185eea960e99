"""Find the objects that an object's functions refer to, which are not copied with that object."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import nn

from regcheck.tracing.unregistered import referred_to

_PLAIN = frozenset({type(None), bool, int, float, str, torch.device, torch.dtype, torch.Tensor, nn.Parameter})
_CONTAINERS = frozenset({dict, OrderedDict, list, tuple, set})


def reached_by_functions(values: Iterable[Any]) -> Iterator[Any]:
    """All objects that functions among the values, and in containers there, refer to."""
    seen: set[int] = set()
    todo = [(value, False) for value in values if not _is_bare(value)]
    while todo:
        value, by_function = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if by_function:
            yield value
        by_function = by_function or isinstance(value, FunctionType)
        todo += [(each, by_function) for each in _inside(value) if by_function or not _is_bare(each)]


def _is_bare(value: Any) -> bool:
    """Whether a value refers to nothing else: numbers, tensors, empty containers."""
    return type(value) in _PLAIN or (type(value) in _CONTAINERS and not value)


def _inside(value: Any) -> Iterator[Any]:
    """The objects that a value refers to, with the defaults and attributes of a function."""
    yield from referred_to(value)
    if isinstance(value, FunctionType):
        yield from value.__defaults__ or ()
        yield from vars(value).values()
