"""Record and restore the state that a model's code refers to by name: class attributes and global names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from regcheck.tracing.copies.shared import is_library_module

from .run_state import RunState

MOST = 2_000
"""The most objects that are recorded from one name,"""

FUNCTIONS = 2_000
"""the most functions that are followed,"""

LARGEST = 100_000
"""and the largest container, array or tensor that is recorded, in elements."""


class ReferencedState:
    """A snapshot of the state that some classes refer to by name.

    It follows the methods of classes and the functions that these name, except those of torch, NumPy and the standard
    library. `restore` rebinds names, and restores the contents of containers, arrays, random streams and plain objects.
    """

    def __init__(self) -> None:
        self._state = RunState(most=MOST, largest=LARGEST, but=(nn.Module, nn.Parameter, Optimizer))
        self._classes: dict[type, dict[str, Any]] = {}
        self._names: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._followed: set[CodeType] = set()

    def record(self, classes: Iterable[type]) -> None:
        """Record the state that more classes refer to; what is already recorded stays so."""
        todo: list[Any] = [*classes]
        while todo:
            value = todo.pop()
            if isinstance(value, type):
                todo += self._of_class(value)
            elif isinstance(value, FunctionType):
                todo += self._of_function(value)
            else:
                self._state.record(value)

    def _of_class(self, cls: type) -> Iterator[Any]:
        for base in cls.__mro__:
            if base not in self._classes and not is_library_module(str(base.__module__)):
                self._classes[base] = dict(vars(base))
                for name, each in self._classes[base].items():
                    if isinstance(each, property):
                        yield from (function for function in (each.fget, each.fset) if function is not None)
                    elif isinstance(each, (staticmethod, classmethod)):
                        yield each.__func__
                    elif not (name.startswith("__") and name.endswith("__") and not isinstance(each, FunctionType)):
                        yield each

    def _of_function(self, function: FunctionType) -> Iterator[Any]:
        code, namespace = function.__code__, function.__globals__
        if (
            len(self._followed) >= FUNCTIONS
            or code in self._followed
            or is_library_module(str(namespace.get("__name__", "__main__")))
        ):
            return
        self._followed.add(code)
        self._state.record(function)
        _, before = self._names.setdefault(id(namespace), (namespace, {}))
        for name in sorted(names_in(code) - before.keys()):
            before[name] = namespace.get(name, _ABSENT)
            if before[name] is not _ABSENT:
                yield before[name]
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not bound yet
                continue

    def restore(self) -> None:
        """Restore the snapshot."""
        for cls, before in self._classes.items():
            now = dict(vars(cls))
            for name in now.keys() - before.keys():
                type.__delattr__(cls, name)
            for name, each in before.items():
                if now.get(name, _ABSENT) is not each:
                    type.__setattr__(cls, name, each)
        for namespace, before in self._names.values():
            for name, each in before.items():
                now = namespace.get(name, _ABSENT)
                if now is each or isinstance(now, ModuleType):
                    continue
                if each is _ABSENT:
                    namespace.pop(name, None)
                else:
                    namespace[name] = each
        self._state.restore()


_ABSENT = object()


@lru_cache(maxsize=4096)
def names_in(code: CodeType) -> frozenset[str]:
    """The global names and attributes that a function's code, with its inner functions, refers to."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return frozenset(code.co_names).union(*map(names_in, inner))
