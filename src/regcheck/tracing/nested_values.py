"""The tensors and other leaves of nested values, in a stable order, with the names that the user gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

_CLOSED = (str, bytes, int, float, complex, type, ModuleType, FunctionType, MethodType, nn.Module)
_DEEPEST = 8


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors of nested tuples, lists and dicts: the containers that torch's own calls accept and return."""
    tensors: list[torch.Tensor] = []
    _collect(value, tensors)
    return tensors


def _collect(value: Any, tensors: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        tensors.append(value)
    elif isinstance(value, (tuple, list)):
        for each in value:
            _collect(each, tensors)
    elif isinstance(value, dict):
        for each in value.values():
            _collect(each, tensors)


def named_tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of any structure with names: `output`, `output[0]`, `logits`, `aux[0]`.

    Walks mappings, sequences and the attributes of objects (in `__dict__` or `__slots__`). It runs no property, and
    consumes no iterator.
    """
    return ((where, each) for where, each in named_leaves(value, name) if isinstance(each, torch.Tensor))


def named_leaves(
    value: Any, name: str, unfold: Callable[[str, Any], Any] = lambda name, value: value
) -> Iterator[tuple[str, Any]]:
    """The leaves of a structure with names: tensors, and values without parts.

    `unfold` maps the name and value of each object other than a tensor to the value to walk instead.
    """
    return _walk(value, name, (), set(), unfold)


def _walk(
    value: Any, name: str, around: tuple[int, ...], visited: set[int], unfold: Callable[[str, Any], Any]
) -> Iterator[tuple[str, Any]]:
    """`around` holds the ids of the containers around `value`, `visited` those of the objects walked so far."""
    if not isinstance(value, torch.Tensor):
        value = unfold(name, value)
    if value is None or isinstance(value, (torch.Tensor, *_CLOSED)):
        yield name, value
        return
    if id(value) in around or len(around) > _DEEPEST:
        return
    outermost, around = not around, (*around, id(value))
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _walk(each, str(key) if outermost else f"{name}[{key!r}]", around, visited, unfold)
    elif isinstance(value, (tuple, list, deque)):
        fields = getattr(value, "_fields", None)
        for index, each in enumerate(value):
            yield from _walk(each, fields[index] if fields else f"{name}[{index}]", around, visited, unfold)
    elif id(value) not in visited:
        visited.add(id(value))
        attributes = [*_attributes(value)]
        if not attributes:
            yield name, value
        for attribute, each in attributes:
            yield from _walk(each, attribute, around, visited, unfold)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object, without running a property."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__"):
                yield slot, getattr(value, slot, None)
