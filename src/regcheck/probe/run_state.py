"""What a run of a copied model changes, and how it is put back before the next run."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.runtime.models import stored
from regcheck.tracing.copies.shared import ATOMS, attributes_of, is_shared, slots_of
from regcheck.tracing.copies.tensors import PLAIN

from .reductions import fingerprint, pieces

originals: Any = WeakIdKeyDictionary()
"""Of each tensor of a copied model the one it was copied from: as that one is not run, it keeps the values."""

_CONTAINERS = (dict, list, set, deque)
_BASES = (OrderedDict, *_CONTAINERS)


class State:
    """Everything that is reached from some values, and that a forward can change.

    Tensors, gradients, attributes, containers, arrays, random streams, what functions close over. All stay the same
    objects: containers are refilled, and tensors and arrays are written back in place.

    Args:
        roots: where to begin.
        most: of no more objects than this is the state kept that one root refers to.
        largest: nor of tensors, arrays and containers with more elements than this.
        but: classes whose objects are passed over.
    """

    def __init__(
        self,
        *roots: Any,
        most: float = float("inf"),
        largest: float = float("inf"),
        but: tuple[type, ...] = (),
    ) -> None:
        self._most, self._largest, self._but = most, largest, but
        self._met: dict[int, Any] = {}
        self._shared: dict[type, bool] = {}
        self._containers: list[tuple[Any, Any]] = []
        self._slots: list[tuple[Any, Any, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._tensors: list[_Tensor] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._streams: list[tuple[Any, Any]] = []
        self._flags: list[tuple[Any, bool]] = []
        for each in roots:
            self.keep(each)

    def keep(self, root: Any) -> None:
        """Keep the state of one more value, with all that it refers to."""
        todo, end = [root], len(self._met) + self._most
        while todo and len(self._met) < end:
            value = todo.pop()
            if type(value) not in ATOMS and id(value) not in self._met:
                self._met[id(value)] = value
                todo += self._inside(value)

    def _inside(self, value: Any) -> Iterable[Any]:
        """Keep the state of one value; what it refers to."""
        kind = type(value)
        if kind not in self._shared:
            self._shared[kind] = is_shared(kind) or issubclass(kind, self._but)
        if self._shared[kind]:
            return ()
        if isinstance(value, torch.Tensor):
            if not value.is_meta and not torch.nn.parameter.is_lazy(value) and value.numel() <= self._largest:
                self._tensors.append(_Tensor(value))
            return self._attributes(value) if kind in PLAIN else ()  # those of other classes may hold the values again
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
        if len(value) > self._largest:
            return []
        contents: Any = dict(value) if isinstance(value, dict) else [*value]
        self._containers.append((value, contents))
        inside = [*contents.keys(), *contents.values()] if isinstance(value, dict) else contents
        return [*inside, *(self._attributes(value) if type(value) not in _CONTAINERS else ())]

    def _attributes(self, value: Any) -> Iterator[Any]:
        own = attributes_of(value)
        if own is not None:
            self._containers.append((own, dict(own)))
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
        """Keep an array's contents, or where a random stream is."""
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

    def restore(self) -> None:
        """Put it back."""
        for container, contents in self._containers:
            _refill(container, contents)
        for slot, value, each in self._slots:
            slot.__set__(value, each)
        for cell, contents in self._cells:
            cell.cell_contents = contents
        for module, training in self._flags:
            module.training = training
        with torch.no_grad():
            for tensor in self._tensors:
                tensor.restore()
        for array, contents in self._arrays:
            if isinstance(array, bytearray):
                if array != contents:
                    array[:] = contents
            else:
                _rewrite(array, contents)
        for put_back, state in self._streams:
            put_back(state)


def _rewrite(array: Any, contents: Any) -> None:
    """Give an array its contents back."""
    if not array.flags.writeable:
        return
    if array.shape != contents.shape:
        array.resize(contents.shape, refcheck=False)
    if array.dtype.hasobject or array.tobytes() != contents.tobytes():
        array[...] = contents


class _Tensor:
    """A tensor with its values, its gradient and whether it wants one."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self._wanted = tensor, tensor.requires_grad
        original = originals.get(tensor)
        same = original is not None and _alike(original, tensor)
        self._value = original.detach() if same else tensor.detach().clone()
        self._print = _printed(tensor) if self._value.device != tensor.device else ()
        gradient = tensor.grad if tensor.is_leaf else None
        self._gradient = None if gradient is None else _Tensor(gradient)

    def restore(self) -> torch.Tensor:
        tensor = self._tensor
        if tensor.shape != self._value.shape:  # a quantization observer resizes what it found empty
            tensor.data = self._value.to(tensor.device, copy=True)
        elif self._written():
            shared = tensor.detach() if tensor.layout is torch.strided else tensor  # a sparse one is not shared
            shared.copy_(self._value)
        if tensor.is_leaf:
            tensor.requires_grad_(self._wanted)
            tensor.grad = None if self._gradient is None else self._gradient.restore()
        return tensor

    def _written(self) -> bool:
        """Whether it has other values now; batch norm's kernel writes without counting a version."""
        if self._print:
            return _printed(self._tensor) != self._print
        pairs = zip(stored(self._tensor), stored(self._value), strict=True)
        return any(not torch.equal(one, other) and fingerprint(one) != fingerprint(other) for one, other in pairs)


def _printed(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(number for part in stored(tensor) for number in fingerprint(part))


def _alike(original: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether a tensor still is what it was copied from, here or from another device, and not written to since."""
    if {original.layout, tensor.layout} != {torch.strided}:
        return False
    here = original.device == tensor.device
    described = [(each.shape, each.dtype, each.stride() if here else ()) for each in (original, tensor)]
    if here or described[0] != described[1]:
        return described[0] == described[1] and torch.equal(original, tensor)
    return all(torch.equal(one, other.to(one.device)) for one, other in pieces(original, tensor))


def _refill(container: Any, contents: Any) -> None:
    """Give a container its contents back where they are others now."""
    if not container and not contents:  # most of a module's are empty
        return
    base: Any = next(each for each in _BASES if isinstance(container, each))
    if base in (list, deque):
        if [*map(id, base.__iter__(container))] != [*map(id, contents)]:
            base.clear(container)
            base.extend(container, contents)
    elif base is set:
        if container != set(contents):
            set.clear(container)
            set.update(container, contents)
    elif [*map(id, base.values(container))] != [*map(id, contents.values())] or [*container] != [*contents]:
        base.clear(container)
        base.update(container, contents)
