"""Copies of functions with closures, defaults or attributes, with their own cells."""

from __future__ import annotations

import types
from typing import Any, Protocol

from regcheck.tracing.user_line import is_user_code


class Memoized(Protocol):
    """Copies an object, and remembers the copies by the id of the original."""

    memo: dict[int, Any]

    def __call__(self, value: Any) -> Any: ...


class Closures:
    """Copies functions and the cells that they share; the copier copies everything that they refer to."""

    def __init__(self, copier: Memoized) -> None:
        self._copy = copier

    def function(self, function: types.FunctionType) -> Any:
        """The copy of a function with a closure, defaults or attributes; other functions are shared."""
        own = function.__closure__, function.__defaults__, function.__kwdefaults__, vars(function)
        if not any(own):
            return function
        cells = tuple(self._empty_cell(each) for each in function.__closure__ or ())
        twin = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
        self._copy.memo[id(function)] = twin
        for cell in function.__closure__ or ():
            self._fill(cell)
        twin.__defaults__ = self._copy(function.__defaults__)
        twin.__kwdefaults__ = self._copy(function.__kwdefaults__)
        vars(twin).update((name, self._copy(each)) for name, each in vars(function).items())
        twin.__qualname__, twin.__doc__, twin.__module__ = function.__qualname__, function.__doc__, function.__module__
        twin.__annotations__ = function.__annotations__
        if not is_user_code(function.__code__.co_filename) and self._is_same(function, twin):
            return self._copy.memo.pop(id(function)) and function
        return twin

    @staticmethod
    def _is_same(function: types.FunctionType, twin: types.FunctionType) -> bool:
        """Whether a library's function and its copy refer to the same objects."""
        cells = zip(function.__closure__ or (), twin.__closure__ or (), strict=True)
        try:
            same = all(one.cell_contents is other.cell_contents for one, other in cells)
        except ValueError:
            return False
        defaults = (function.__defaults__ is twin.__defaults__, not function.__kwdefaults__, not vars(function))
        return same and all(defaults)

    def _empty_cell(self, cell: types.CellType) -> types.CellType:
        twin: types.CellType = self._copy.memo.setdefault(id(cell), types.CellType())
        return twin

    def _fill(self, cell: types.CellType) -> None:
        twin = self._empty_cell(cell)
        try:
            _ = twin.cell_contents
        except ValueError:
            try:
                twin.cell_contents = self._copy(cell.cell_contents)
            except ValueError:  # not bound yet
                return

    def cell(self, cell: types.CellType) -> types.CellType:
        self._fill(cell)
        return self._empty_cell(cell)
