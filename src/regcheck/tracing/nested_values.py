"""The tensors, and whatever else stands at the ends, of nested values, in a stable order, by the users' own names."""

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
    """The tensors of nested tuples, lists and dicts, which is all that torch's own calls take and return."""
    found: list[torch.Tensor] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, (tuple, list)):
        for each in value:
            _collect(each, found)
    elif isinstance(value, dict):
        for each in value.values():
            _collect(each, found)


def named_tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of any structure with names: `output`, `output[0]`, `logits`, `aux[0]`.

    Mappings, sequences and the attributes of objects (in `__dict__` or `__slots__`) are walked; nothing is called on
    them that could run a property of the user's, and what can be read only once is not read.
    """
    return ((where, each) for where, each in named_leaves(value, name) if isinstance(each, torch.Tensor))


def named_leaves(
    value: Any, name: str, unfold: Callable[[str, Any], Any] = lambda name, value: value
) -> Iterator[tuple[str, Any]]:
    """All that a structure holds in the end with names: tensors, and what has no parts that could be walked.

    `unfold` is given each value that is no tensor and its name, and returns what to walk in its place.
    """
    return _walk(value, name, (), set(), unfold)


def _walk(
    value: Any, name: str, around: tuple[int, ...], met: set[int], unfold: Callable[[str, Any], Any]
) -> Iterator[tuple[str, Any]]:
    """`around` are the containers that `value` is inside of, `met` the objects whose attributes were walked."""
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
            yield from _walk(each, str(key) if outermost else f"{name}[{key!r}]", around, met, unfold)
    elif isinstance(value, (tuple, list, deque)):
        fields = getattr(value, "_fields", None)
        for index, each in enumerate(value):
            yield from _walk(each, fields[index] if fields else f"{name}[{index}]", around, met, unfold)
    elif id(value) not in met:
        met.add(id(value))
        attributes = [*_attributes(value)]
        if not attributes:
            yield name, value
        for attribute, each in attributes:
            yield from _walk(each, attribute, around, met, unfold)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object keeps, without running a property."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__"):
                yield slot, getattr(value, slot, None)
