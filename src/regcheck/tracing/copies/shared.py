"""The objects that a copy shares with the original, and stand-ins for those that it can neither copy nor share."""

from __future__ import annotations

import contextvars
import datetime
import decimal
import enum
import functools
import io
import pathlib
import random
import re
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from regcheck.tracing.accelerators import in_use

ATOMS: frozenset[type] = frozenset(
    (
        *(type(None), bool, int, float, complex, str, bytes, type, range, type(...), type(NotImplemented)),
        *(types.CodeType, types.ModuleType, property, staticmethod, classmethod, types.WrapperDescriptorType),
        *(types.MethodDescriptorType, types.ClassMethodDescriptorType, types.GetSetDescriptorType),
        *(types.MemberDescriptorType, types.GenericAlias, types.UnionType, re.Pattern, re.Match, slice),
        *(datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone, decimal.Decimal),
        *(uuid.UUID, contextvars.ContextVar, contextvars.Context, contextvars.Token, pathlib.PosixPath),
        *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, torch.qscheme, torch.finfo),
        *(torch.iinfo, torch.jit.ScriptFunction, pathlib.WindowsPath, pathlib.PurePosixPath),
    )
)
"""Classes whose objects are immutable, or belong to no state."""

_PACKAGES = frozenset("_pytest pytest pluggy xdist execnet unittest logging regcheck IPython ipykernel".split())
"""Packages whose objects belong to the program around a model: its tests, its log."""

_BASES = frozenset(
    (
        ("threading", "Thread"),
        ("multiprocessing.process", "BaseProcess"),
        ("concurrent.futures._base", "Executor"),
        ("concurrent.futures._base", "Future"),
        ("asyncio.events", "AbstractEventLoop"),
        ("_asyncio", "Future"),
        ("subprocess", "Popen"),
        ("weakref", "finalize"),
        ("typing", "TypeVar"),
        ("torch._ops", "OperatorBase"),
        ("torch._ops", "OpOverloadPacket"),
    )
)
"""Classes (with their subclasses) whose objects represent something outside the model."""

_HOOKS = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__setstate__")


class CannotDuplicate(Exception):
    """An object cannot be copied; `path` holds the attributes that lead to it, outermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []

    def __str__(self) -> str:
        reason = str(self.args[0])
        return f"`{'.'.join(self.path)}`: {reason}" if self.path else reason


class NotCopied(Exception):
    """A copy uses an object that can be neither copied nor shared."""


def not_copied_error(value: Any) -> NotCopied:
    """The error for using an object that was not copied."""
    return NotCopied(
        f"it uses a {type(value).__name__}, which cannot be copied, and that of the original is left alone"
    )


class UnusableStandIn:
    """Replaces an object that can be neither copied nor shared: raises on use."""

    def __init__(self, error: NotCopied) -> None:
        self.__dict__["error"] = error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.__dict__["error"]

    def __setattr__(self, name: str, value: Any) -> None:
        raise self.__dict__["error"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.__dict__["error"]


def raising_iterator(error: NotCopied) -> Iterator[Any]:
    """Replaces an iterator that cannot be copied: raises when advanced."""
    yield from ()  # which makes this a generator
    raise error


def stand_in_for(value: Any) -> Any:
    """The stand-in for an object that is neither copied nor shared.

    Writes to files are dropped. Every other stand-in raises on use.
    """
    if isinstance(value, io.IOBase):
        if value in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__) or value.closed:
            return value
        if value.writable() and not value.readable():
            return io.StringIO() if isinstance(value, io.TextIOBase) else io.BytesIO()
        return UnusableStandIn(not_copied_error(value))
    if type(value).__module__.partition(".")[0] == "torch":  # streams, process groups, nodes of a graph
        return value
    if isinstance(value, types.GeneratorType) or hasattr(type(value), "__next__"):
        return raising_iterator(not_copied_error(value))
    return UnusableStandIn(not_copied_error(value))


def process_wide() -> Iterator[Any]:
    """The random streams of the process, which are restored instead of copied."""
    yield random._inst
    yield torch.default_generator
    if in_use() is torch.cuda:
        yield from torch.cuda.default_generators
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        yield numpy.random.mtrand._rand
        yield numpy.random.mtrand._rand._bit_generator


def is_shared(kind: type) -> bool:
    """Whether a copy shares the objects of a class with the original."""
    if issubclass(kind, (type, types.ModuleType, enum.Enum)):
        return True
    home, numpy = str(kind.__module__), sys.modules.get("numpy")
    package = home.partition(".")[0]
    if package in _PACKAGES and kind is not UnusableStandIn:
        return True
    if numpy is not None and issubclass(kind, (numpy.generic, numpy.dtype, numpy.ufunc)):
        return True
    if package == "torch" and home.startswith("torch._C") and kind.__name__ not in ("Generator", "ScriptObject"):
        return True
    bases = kind.__mro__
    return any((each.__module__, each.__name__) in _BASES or each.__module__ == "logging" for each in bases)


def has_trusted_hooks(kind: type) -> bool:
    """Whether a class has copy hooks, all of them from torch, NumPy or the standard library.

    Hooks of modules are ignored, except those of the module that `torch.compile` returns.
    """
    if issubclass(kind, nn.Module) and kind.__name__ != "OptimizedModule":
        return False
    definers = [next((base for base in kind.__mro__ if hook in vars(base)), object) for hook in _HOOKS]
    packages = {str(each.__module__).partition(".")[0] for each in definers if each not in (object, nn.Module)}
    return bool(packages) and all(map(is_library_module, packages))


def is_library_module(module: str) -> bool:
    """Whether a module of that name belongs to torch, NumPy or the standard library."""
    package = module.partition(".")[0]
    return package in sys.stdlib_module_names or package in ("torch", "numpy", "regcheck", "__mp_main__")


def attributes_of(value: Any) -> dict[str, Any] | None:
    """An object's `__dict__`, bypassing its class; None without one."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return own if isinstance(own, dict) else None


def slots_of(value: Any) -> tuple[tuple[str, Any], ...]:
    """The slots of an object, by name."""
    kind: Any = type(value)
    return _slots(kind)


@functools.lru_cache(maxsize=1024)
def _slots(kind: Any) -> tuple[tuple[str, Any], ...]:
    if not any("__slots__" in vars(base) for base in kind.__mro__):
        return ()
    return tuple(
        (name, each)
        for base in kind.__mro__
        if "__slots__" in vars(base)
        for name, each in vars(base).items()
        if isinstance(each, types.MemberDescriptorType)
    )


def class_for_a_copy(value: Any) -> Any:
    """The class of an object; in place of a class with `__del__`, a subclass without effect on deletion."""
    kind: Any = type(value)
    return without_finalizer(kind)


@functools.lru_cache(maxsize=128)
def without_finalizer(kind: Any) -> Any:
    if not hasattr(kind, "__del__"):
        return kind
    inert = {"__del__": lambda self: None, "__slots__": (), "__module__": kind.__module__}
    return type.__new__(type(kind), kind.__name__, (kind,), {**inert, "__qualname__": kind.__qualname__})
