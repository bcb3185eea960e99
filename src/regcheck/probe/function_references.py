"""What functions hold on to, which are not copied with the object that keeps them."""

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
    """All that functions among the values, and in containers there, refer to."""
    seen: set[int] = set()
    todo = [(value, False) for value in values if not _is_bare(value)]
    while todo:
        value, held = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if held:
            yield value
        held = held or isinstance(value, FunctionType)
        todo += [(each, held) for each in _inside(value) if held or not _is_bare(each)]


def _is_bare(value: Any) -> bool:
    """Whether there is nothing inside of a value, as of most that modules hold: numbers, tensors, empty containers."""
    return type(value) in _PLAIN or (type(value) in _CONTAINERS and not value)


def _inside(value: Any) -> Iterator[Any]:
    """What a value refers to, with the defaults and attributes of a function."""
    yield from referred_to(value)
    if isinstance(value, FunctionType):
        yield from value.__defaults__ or ()
        yield from vars(value).values()
