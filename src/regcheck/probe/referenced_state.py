"""What the code of a model refers to by name: attributes of its classes, and names of the modules they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from regcheck.tracing.copies.shared import is_library_module

from .run_state import State

MOST = 2_000
"""Of no more objects than this is the state kept that one name refers to."""

FUNCTIONS = 2_000
"""No more functions than this are followed."""

LARGEST = 100_000
"""Nor of containers, arrays and tensors with more elements than this."""


class Surroundings:
    """The state of what some classes refer to by name, to be put back.

    Followed are the methods of classes and the functions that these name, but those of torch, NumPy and the standard
    library. Names that are bound to something else are bound as they were; containers, arrays, random streams and
    plain objects have the contents that they had.
    """

    def __init__(self) -> None:
        self._state = State(most=MOST, largest=LARGEST, but=(nn.Module, nn.Parameter, Optimizer))
        self._classes: dict[type, dict[str, Any]] = {}
        self._names: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._followed: set[CodeType] = set()

    def keep(self, classes: Iterable[type]) -> None:
        """Keep the state of what more classes refer to; of what was kept before it stays as it was then."""
        todo: list[Any] = [*classes]
        while todo:
            value = todo.pop()
            if isinstance(value, type):
                todo += self._of_class(value)
            elif isinstance(value, FunctionType):
                todo += self._of_function(value)
            else:
                self._state.keep(value)

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
        code, known = function.__code__, function.__globals__
        if (
            len(self._followed) >= FUNCTIONS
            or code in self._followed
            or is_library_module(str(known.get("__name__", "__main__")))
        ):
            return
        self._followed.add(code)
        self._state.keep(function)
        _, before = self._names.setdefault(id(known), (known, {}))
        for name in sorted(names_in(code) - before.keys()):
            before[name] = known.get(name, _ABSENT)
            if before[name] is not _ABSENT:
                yield before[name]
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not bound yet
                continue

    def put_back(self) -> None:
        """Put it back."""
        for cls, before in self._classes.items():
            now = dict(vars(cls))
            for name in now.keys() - before.keys():
                type.__delattr__(cls, name)
            for name, each in before.items():
                if now.get(name, _ABSENT) is not each:
                    type.__setattr__(cls, name, each)
        for known, before in self._names.values():
            for name, each in before.items():
                now = known.get(name, _ABSENT)
                if now is each or isinstance(now, ModuleType):
                    continue
                if each is _ABSENT:
                    known.pop(name, None)
                else:
                    known[name] = each
        self._state.restore()


_ABSENT = object()


@lru_cache(maxsize=4096)
def names_in(code: CodeType) -> frozenset[str]:
    """The names that a function's code, and that of the functions in it, refers to: global ones and attributes."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return frozenset(code.co_names).union(*map(names_in, inner))
