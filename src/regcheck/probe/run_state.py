"""Record the state that a run of a copied model can change, and restore it before the next run."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.runtime.models import stored
from regcheck.tracing.copies.shared import ATOMS, attributes_of, is_shared, slots_of
from regcheck.tracing.copies.tensors import PLAIN
from regcheck.tracing.identity import version_of

from .reductions import fingerprint, pieces

originals: Any = WeakIdKeyDictionary()
"""Maps each tensor of a copied model to its original, which does not run and so still has the values."""

_CONTAINERS = (dict, list, set, deque)
_BASES = (OrderedDict, *_CONTAINERS)


class RunState:
    """A snapshot of all that is reachable from some values and that a forward can change.

    That is tensors, gradients, attributes, containers, arrays, random streams and closures. All stay the same objects:
    `restore` refills containers, and writes tensors and arrays in place.

    Args:
        roots: where to begin.
        most: the most objects that are recorded from one root.
        largest: the largest tensor, array or container that is recorded, in elements.
        but: classes whose objects are not recorded.
    """

    def __init__(
        self,
        *roots: Any,
        most: float = float("inf"),
        largest: float = float("inf"),
        but: tuple[type, ...] = (),
    ) -> None:
        self._most, self._largest, self._but = most, largest, but
        self._recorded: dict[int, Any] = {}
        self._shared: dict[type, bool] = {}
        self._containers: list[tuple[Any, Any, Any, list[int]]] = []
        self._slots: list[tuple[Any, Any, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._tensors: list[_Tensor] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._streams: list[tuple[Any, Any]] = []
        self._flags: list[tuple[Any, bool]] = []
        for each in roots:
            self.record(each)

    def record(self, root: Any) -> None:
        """Record one more value, with all that it refers to."""
        todo, end = [root], len(self._recorded) + self._most
        while todo and len(self._recorded) < end:
            value = todo.pop()
            if type(value) not in ATOMS and id(value) not in self._recorded:
                self._recorded[id(value)] = value
                todo += self._inside(value)

    def _inside(self, value: Any) -> Iterable[Any]:
        """Record one value; returns what it refers to."""
        kind = type(value)
        if kind not in self._shared:
            self._shared[kind] = is_shared(kind) or issubclass(kind, self._but)
        if self._shared[kind]:
            return ()
        if isinstance(value, torch.Tensor):
            if not value.is_meta and not torch.nn.parameter.is_lazy(value) and value.numel() <= self._largest:
                self._tensors.append(_Tensor(value))
            return self._attributes(value) if kind in PLAIN else ()  # others may contain the values again
        if isinstance(value, _CONTAINERS):
            return self._container(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, (tuple, frozenset)):
            return [*value, *self._attributes(value)]
        if isinstance(value, types.MethodType):
            return (value.__self__, value.__func__)
        if isinstance(value, types.BuiltinFunctionType):
            return (value.__self__,)
        if isinstance(value, functools.partial):
            return (value.func, *value.args, value.keywords)
        if isinstance(value, torch.jit.ScriptModule):
            if hasattr(value, "training"):
                self._flags.append((value, value.training))
            return [*value.parameters(recurse=False), *value.buffers(recurse=False), *value._modules.values()]
        self._stream(value)
        return self._attributes(value)

    def _container(self, value: Any) -> list[Any]:
        base = _base_of(value)
        if base.__len__(value) > self._largest:
            return []
        contents: Any = dict(base.items(value)) if isinstance(value, dict) else [*base.__iter__(value)]
        self._add(base, value, contents)
        inside = [*contents.keys(), *contents.values()] if isinstance(value, dict) else contents
        return [*inside, *(self._attributes(value) if type(value) not in _CONTAINERS else ())]

    def _add(self, base: Any, container: Any, contents: Any) -> None:
        items = contents.values() if isinstance(contents, dict) else contents
        self._containers.append((base, container, contents, [*map(id, items)]))

    def _attributes(self, value: Any) -> Iterator[Any]:
        own = attributes_of(value)
        if own is not None:
            self._add(dict, own, dict(own))
            yield from list(own.values())
        for _, slot in slots_of(value):
            try:
                each = slot.__get__(value)
            except AttributeError:
                continue
            self._slots.append((slot, value, each))
            yield each

    def _function(self, function: types.FunctionType) -> Iterator[Any]:
        for cell in function.__closure__ or ():
            try:
                contents = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            self._cells.append((cell, contents))
            yield contents
        yield from function.__defaults__ or ()
        yield from (function.__kwdefaults__ or {}).values()
        yield vars(function)

    def _stream(self, value: Any) -> None:
        """Record an array's contents, or the state of a random stream."""
        numpy = sys.modules.get("numpy")
        if isinstance(value, bytearray):
            self._arrays.append((value, bytes(value)))
        elif isinstance(value, torch.Generator):
            self._streams.append((value.set_state, value.get_state()))
        elif isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
            self._streams.append((value.setstate, value.getstate()))
        elif numpy is None:
            return
        elif isinstance(value, numpy.ndarray):
            if value.size <= self._largest:
                self._arrays.append((value, value.copy()))
        elif isinstance(value, numpy.random.Generator):
            self._streams.append((functools.partial(setattr, value.bit_generator, "state"), value.bit_generator.state))
        elif isinstance(value, numpy.random.RandomState):
            self._streams.append((value.set_state, value.get_state()))

    def restore(self, touched: Collection[int] | None = None) -> None:
        """Restore the snapshot.

        Args:
            touched: the ids of the tensors that the run may have written to without incrementing their version
                counters; all of them if None.
        """
        for base, container, contents, ids in self._containers:
            if ids or base.__len__(container):  # most containers of a module are empty
                _refill(base, container, contents, ids)
        for slot, value, each in self._slots:
            slot.__set__(value, each)
        for cell, contents in self._cells:
            cell.cell_contents = contents
        for module, training in self._flags:
            module.training = training
        with torch.no_grad():
            for tensor in self._tensors:
                if touched is None or tensor.may_have_changed(touched):
                    tensor.restore()
        for array, contents in self._arrays:
            if isinstance(array, bytearray):
                if array != contents:
                    array[:] = contents
            else:
                _rewrite(array, contents)
        for set_state, state in self._streams:
            set_state(state)


def _rewrite(array: Any, contents: Any) -> None:
    """Restore an array's contents."""
    if not array.flags.writeable:
        return
    if array.shape != contents.shape:
        array.resize(contents.shape, refcheck=False)
    if array.dtype.hasobject or array.tobytes() != contents.tobytes():
        array[...] = contents


class _Tensor:
    """A snapshot of a tensor: its values, its gradient and `requires_grad`."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self._requires_grad = tensor, tensor.requires_grad
        original = originals.get(tensor)
        same = original is not None and _equals_original(original, tensor)
        self._value = original.detach() if same else tensor.detach().clone()
        self._checksum = _checksum(tensor) if self._value.device != tensor.device else ()
        gradient = tensor.grad if tensor.is_leaf else None
        self._gradient = None if gradient is None else _Tensor(gradient)
        self._version = version_of(tensor)

    def may_have_changed(self, touched: Collection[int]) -> bool:
        """Whether its version counter or its gradient differs, or it is one of those that a run has touched."""
        tensor = self._tensor
        if id(tensor) in touched or self._version is None or tensor._version != self._version:
            return True
        return tensor.requires_grad != self._requires_grad or (tensor.is_leaf and tensor.grad is not None)

    def restore(self) -> torch.Tensor:
        tensor = self._tensor
        if tensor.shape != self._value.shape:  # a quantization observer resizes an empty tensor
            tensor.data = self._value.to(tensor.device, copy=True)
        elif self._written():
            shared = tensor.detach() if tensor.layout is torch.strided else tensor  # a sparse tensor has no shared view
            shared.copy_(self._value)
        if tensor.is_leaf:
            tensor.requires_grad_(self._requires_grad)
            tensor.grad = None if self._gradient is None else self._gradient.restore()
        self._version = version_of(tensor)
        return tensor

    def _written(self) -> bool:
        """Whether its values differ; batch norm's kernel writes without incrementing the version counter."""
        if self._checksum:
            return _checksum(self._tensor) != self._checksum
        pairs = zip(stored(self._tensor), stored(self._value), strict=True)
        return any(not torch.equal(one, other) and fingerprint(one) != fingerprint(other) for one, other in pairs)


def _checksum(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(number for part in stored(tensor) for number in fingerprint(part))


def _equals_original(original: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether a tensor still equals its original, on the same or on another device."""
    if {original.layout, tensor.layout} != {torch.strided}:
        return False
    here = original.device == tensor.device
    layouts = [(each.shape, each.dtype, each.stride() if here else ()) for each in (original, tensor)]
    if here or layouts[0] != layouts[1]:
        return layouts[0] == layouts[1] and torch.equal(original, tensor)
    return all(torch.equal(one, other.to(one.device)) for one, other in pieces(original, tensor))


def _base_of(container: Any) -> Any:
    """The builtin class of a container, whose methods read and write what a subclass may compute or refuse."""
    return next(each for each in _BASES if isinstance(container, each))


def _refill(base: Any, container: Any, contents: Any, ids: list[int]) -> None:
    """Restore a container's contents where they differ; `ids` are those of its items, or of a mapping's values."""
    if base in (list, deque):
        if [*map(id, base.__iter__(container))] != ids:
            base.clear(container)
            base.extend(container, contents)
    elif base is set:
        if not set.__eq__(container, set(contents)):
            set.clear(container)
            set.update(container, contents)
    elif [*map(id, base.values(container))] != ids or [*base.__iter__(container)] != [*contents]:
        base.clear(container)
        base.update(container, contents)
