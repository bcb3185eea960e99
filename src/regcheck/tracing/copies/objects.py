"""Structural copies of live objects: none of the objects' own code runs, and nothing is written to the original.

`copy.deepcopy` calls `__deepcopy__` and `__reduce__`, rejects locks, generators and tensors with a history, and shares
functions with their closures. This copier creates an object of a Python class without its constructor and sets copies
of its attributes. An object that cannot be copied is rebuilt, or replaced by a stand-in that raises on use. See
decision 32.
"""

from __future__ import annotations

import copy
import functools
import io
import random
import sys
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import format_error, stops
from regcheck.keras_api.layer_tree import is_node_class

from .functions import Closures
from .shared import (
    ATOMS,
    CannotDuplicate,
    attributes_of,
    class_for_a_copy,
    has_trusted_hooks,
    is_shared,
    process_wide,
    slots_of,
    stand_in_for,
    without_finalizer,
)
from .tensors import PLAIN, Clones

MOST = 500_000
"""The most objects in one copy: a model that refers to more refers to the program around it."""

_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())

_CONTAINERS = frozenset((dict, OrderedDict, set, list))

CopyFunction = Callable[[Any], Any]


class Copier:
    """Copies objects; an object that is reached twice is copied once.

    Args:
        make: copies a tensor, without its attributes; by default a clone that shares memory with the copies of the
            tensors that share the original's memory.
    """

    def __init__(self, make: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        self.memo: dict[int, Any] = {}
        self.tensors: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._make = make or Clones(self.memo)
        self.kinds: list[type] = []
        self._alive: list[Any] = []
        self._copy_functions: dict[type, CopyFunction] = {}
        self._count = 0
        self._queues: list[Any] = []
        self._threads: list[Any] = []
        self._unfilled: list[tuple[Any, Any]] = []

    def copy(self, value: Any) -> Any:
        """The copy of a value and of everything that it refers to; the copier then forgets its memo.

        Raises:
            CannotDuplicate: the value cannot be copied; the message says why.
        """
        self._closures = Closures(self)
        self.memo.update({id(each): each for each in process_wide()})
        try:
            twin = self(value)
            while self._unfilled:
                self._give_attributes(*self._unfilled.pop())
        except CannotDuplicate:
            raise
        except RecursionError:
            raise CannotDuplicate("it is nested too deeply") from None
        except BaseException as error:
            if stops(error):
                raise
            raise CannotDuplicate(format_error(error)) from error
        finally:
            self.kinds = [*self._copy_functions]
            self._copy_functions.clear()  # they refer to the copier: no reference cycle may remain
            self.memo.clear()
            self._unfilled.clear()
            self._alive.clear()
            del self._closures
        if self._queues and any(each.is_alive() for each in self._threads):
            raise CannotDuplicate("it has a queue and a running thread, which may use the other end of the queue")
        return twin

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return value
        twin = self.memo.get(id(value))
        if twin is not None:
            return twin
        self._count += 1
        if self._count > MOST:
            raise CannotDuplicate(f"it refers to more than {MOST:,} objects")
        function = self._copy_functions.get(kind)
        if function is None:
            function = self._copy_functions[kind] = self._copy_function(kind)
        twin = function(value)
        if twin is not value:
            self.memo[id(value)] = twin
            self._alive.append(value)
        return twin

    def _copy_function(self, kind: Any) -> CopyFunction:
        """The function that copies objects of a class."""
        if is_shared(kind):
            return self._thread if issubclass(kind, threading.Thread) else self._share
        if is_node_class(kind):
            return self._node
        for base, function in self._bases():
            if issubclass(kind, base):
                return function
        try:
            object.__new__(without_finalizer(kind))
        except TypeError:
            return self._reduced
        return self._reduced if has_trusted_hooks(kind) else self._object

    def _bases(self) -> Iterator[tuple[Any, CopyFunction]]:
        numpy = sys.modules.get("numpy")
        yield torch.Tensor, self._tensor
        yield torch.jit.ScriptModule, self._scripted
        yield torch.fx.GraphModule, self._graph_module
        yield OrderedDict, functools.partial(self._mapping, OrderedDict)
        yield defaultdict, functools.partial(self._mapping, defaultdict)
        yield dict, functools.partial(self._mapping, dict)
        yield list, functools.partial(self._sequence, list)
        yield deque, functools.partial(self._sequence, deque)
        yield set, self._set
        yield frozenset, functools.partial(self._immutable, frozenset)
        yield tuple, functools.partial(self._immutable, tuple)
        yield (str, int, float, complex, bytes), self._number
        yield bytearray, self._bytes
        yield types.FunctionType, self._closures.function
        yield types.MethodType, self._method
        yield (types.BuiltinFunctionType, types.MethodWrapperType), self._builtin
        yield functools.partial, self._partial
        yield type(functools.lru_cache(len)), self._memoized
        yield types.CellType, self._closures.cell
        yield (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet), self._weak
        yield weakref.ref, self._reference
        yield (_LOCK, _RLOCK), lambda lock: type(lock)() if type(lock) is _RLOCK else threading.Lock()
        yield threading.local, self._local
        yield torch.Generator, self._generator
        yield random.Random, self._random
        yield (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), stand_in_for
        yield (io.StringIO, io.BytesIO), self._reduced
        yield io.IOBase, stand_in_for
        yield types.MappingProxyType, self._view
        if numpy is not None:
            yield numpy.ndarray, self._array
        if "queue" in sys.modules:
            yield sys.modules["queue"].Queue, self._queue

    @staticmethod
    def _share(value: Any) -> Any:
        return value

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        twin = self._make(tensor)
        self.memo[id(tensor)] = twin
        self.tensors.append((tensor, twin))
        if type(tensor) in PLAIN and vars(tensor):
            vars(twin).update({name: self(each) for name, each in vars(tensor).items()})
        return twin

    def _scripted(self, module: Any) -> Any:
        return copy.deepcopy(module, self.memo)

    def _graph_module(self, module: Any) -> Any:
        """A copy by torch, without the `train` and `eval` that raise in exported models."""
        before = dict(self.memo)
        try:
            return copy.deepcopy(module, self.memo)
        except Exception:
            self.memo.clear()
            self.memo.update(before)
            return self._object(module)

    def _object(self, value: Any) -> Any:
        twin = self.memo[id(value)] = object.__new__(class_for_a_copy(value))
        self._give_attributes(value, twin)
        return twin

    def _node(self, value: Any) -> Any:
        """A copy whose attributes follow last: nodes link all layers of a model to a chain, too long for recursion."""
        twin = self.memo[id(value)] = object.__new__(type(value))
        self._unfilled.append((value, twin))
        return twin

    def _give_attributes(self, value: Any, twin: Any) -> None:
        own = attributes_of(value)
        if own:
            attributes = attributes_of(twin)
            assert attributes is not None
            for name, each in list(own.items()):
                attributes[name] = each if type(each) in ATOMS else self._attribute(name, each)
        for name, slot in slots_of(value):
            try:
                each = slot.__get__(value)
            except AttributeError:
                continue
            slot.__set__(twin, self._attribute(name, each))

    def _attribute(self, name: Any, value: Any) -> Any:
        kind = type(value)
        if kind in _CONTAINERS and not value:  # as most containers of modules are
            self._alive.append(value)
            return self.memo.setdefault(id(value), kind())
        try:
            return self(value)
        except CannotDuplicate as refusal:
            if name not in ("_modules", "_parameters", "_buffers"):
                refusal.path.insert(0, str(name))
            raise

    def _mapping(self, base: Any, value: Any) -> Any:
        kind = type(value)
        twin = self.memo[id(value)] = base.__new__(class_for_a_copy(value))
        if base is defaultdict:
            twin.default_factory = self(value.default_factory)
        for key, each in list(base.items(value)):
            copied = each if type(each) in ATOMS else self._attribute(key, each) if type(key) is str else self(each)
            base.__setitem__(twin, key if type(key) is str else self(key), copied)
        if kind is not base:
            self._give_attributes(value, twin)
        return twin

    def _sequence(self, base: Any, value: Any) -> Any:
        twin = self.memo[id(value)] = base.__new__(class_for_a_copy(value))
        if base is deque:
            deque.__init__(twin, (), value.maxlen)
        base.extend(twin, [self(each) for each in base.__iter__(value)])
        if type(value) is not base:
            self._give_attributes(value, twin)
        return twin

    def _set(self, value: Any) -> Any:
        twin = self.memo[id(value)] = set.__new__(class_for_a_copy(value))
        set.update(twin, [self(each) for each in set.__iter__(value)])
        if type(value) is not set:
            self._give_attributes(value, twin)
        return twin

    def _immutable(self, base: Any, value: Any) -> Any:
        parts = [*base.__iter__(value)]
        if type(value) is base and all(type(each) in ATOMS for each in parts):
            return value
        copies = [self(each) for each in parts]
        if all(one is other for one, other in zip(parts, copies, strict=True)) and not attributes_of(value):
            return value
        copied = self.memo.get(id(value))  # reached once more from within
        if copied is not None:
            return copied
        twin = self.memo[id(value)] = base.__new__(type(value), copies)
        self._give_attributes(value, twin)
        return twin

    def _number(self, value: Any) -> Any:
        if not attributes_of(value):
            return value
        base: Any = next(each for each in (str, int, float, complex, bytes) if isinstance(value, each))
        twin = self.memo[id(value)] = base.__new__(type(value), base.__getnewargs__(value)[0])
        self._give_attributes(value, twin)
        return twin

    def _bytes(self, value: Any) -> Any:
        twin = self.memo[id(value)] = bytearray.__new__(type(value))
        bytearray.extend(twin, memoryview(value))
        self._give_attributes(value, twin)
        return twin

    def _method(self, method: types.MethodType) -> Any:
        function, owner = self(method.__func__), self(method.__self__)
        return method if owner is method.__self__ and function is method.__func__ else types.MethodType(function, owner)

    def _builtin(self, method: Any) -> Any:
        owner = method.__self__
        if owner is None or isinstance(owner, (types.ModuleType, type)):
            return method
        twin = self(owner)
        return method if twin is owner else getattr(twin, method.__name__)

    def _partial(self, value: Any) -> Any:
        parts = self(value.func), self(value.args), self(value.keywords)
        twin = self.memo[id(value)] = functools.partial.__new__(type(value), parts[0], *parts[1], **parts[2])
        self._give_attributes(value, twin)
        return twin

    def _memoized(self, value: Any) -> Any:
        inner = self(value.__wrapped__)
        return value if inner is value.__wrapped__ else functools.lru_cache(**value.cache_parameters())(inner)

    def _weak(self, value: Any) -> Any:
        twin = self.memo[id(value)] = type(value)()
        if isinstance(value, weakref.WeakSet):
            for each in list(value):
                twin.add(self._referent(each))
        elif isinstance(value, weakref.WeakKeyDictionary):
            for key, each in list(value.items()):
                twin[self._referent(key)] = self(each)
        else:
            for key, each in list(value.items()):
                twin[self(key)] = self._referent(each)
        return twin

    def _reference(self, reference: Any) -> Any:
        target = reference()
        twin = self._referent(target)
        return reference if twin is target or type(reference) is not weakref.ref else weakref.ref(twin)

    def _referent(self, target: Any) -> Any:
        """The referent of a copied weak reference: a copy of a part of the model, else the original."""
        if isinstance(target, (nn.Module, torch.Tensor, OrderedDict)):
            twin = self(target)
            self._alive += (target, twin)
            return twin
        return self.memo.get(id(target), target)

    def _view(self, value: Any) -> Any:
        return types.MappingProxyType({self(key): self(each) for key, each in value.items()})

    def _local(self, value: Any) -> Any:
        twin = self.memo[id(value)] = threading.local.__new__(type(value))
        vars(twin).update((name, self(each)) for name, each in vars(value).items())
        return twin

    def _thread(self, value: threading.Thread) -> threading.Thread:
        self._threads.append(value)
        return value

    def _queue(self, value: Any) -> Any:
        self._queues.append(value)
        return self._object(value)

    @staticmethod
    def _generator(value: torch.Generator) -> torch.Generator:
        return torch.Generator(value.device).set_state(value.get_state())

    def _random(self, value: random.Random) -> Any:
        if isinstance(value, random.SystemRandom):
            return value
        twin = self.memo[id(value)] = random.Random.__new__(type(value))
        random.Random.setstate(twin, random.Random.getstate(value))
        self._give_attributes(value, twin)
        return twin

    def _array(self, value: Any) -> Any:
        twin = value.copy(order="K") if type(value).__module__.startswith("numpy") else copy.deepcopy(value, self.memo)
        self.memo[id(value)] = twin
        if value.dtype.hasobject:
            twin.flat[:] = [self(each) for each in value.flat]
        return twin

    def _reduced(self, value: Any) -> Any:
        """A copy of an object implemented in C, by its class's own reduction."""
        try:
            deep = getattr(value, "__deepcopy__", None)
            parts = (deep, (self.memo,)) if deep is not None else value.__reduce_ex__(4)
        except Exception:
            return stand_in_for(value)
        if isinstance(parts, str):
            return value
        self._alive.append(parts)
        make, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        try:
            twin = make(*arguments) if deep is not None else self(make)(*map(self, arguments))
        except (TypeError, ValueError, RuntimeError):
            return stand_in_for(value)
        if twin is value:
            return value if has_trusted_hooks(type(value)) else stand_in_for(value)
        self.memo[id(value)] = twin
        if state is not None:
            self._set_state(twin, self(state))
        for each in items or ():
            twin.append(self(each))
        for key, each in pairs or ():
            twin[self(key)] = self(each)
        return twin

    @staticmethod
    def _set_state(twin: Any, state: Any) -> None:
        if hasattr(twin, "__setstate__"):
            twin.__setstate__(state)
            return
        attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        vars(twin).update(attributes or {})
        for name, each in (slots or {}).items():
            setattr(twin, name, each)
