"""Copies of functions that close over something or keep something, with cells and defaults of their own."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from regcheck.tracing.user_line import is_the_users

if TYPE_CHECKING:
    from .objects import Copier


class Closures:
    """Copies functions, and the cells that several of them may share, with the copier of everything else."""

    def __init__(self, copier: Copier) -> None:
        self._copy = copier

    def function(self, function: types.FunctionType) -> Any:
        """A function that closes over something, or keeps something, is made anew; others are shared."""
        kept = function.__closure__, function.__defaults__, function.__kwdefaults__, vars(function)
        if not any(kept):
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
        if not is_the_users(function.__code__.co_filename) and self._is_same(function, twin):
            return self._copy.memo.pop(id(function)) and function
        return twin

    @staticmethod
    def _is_same(function: types.FunctionType, twin: types.FunctionType) -> bool:
        """Whether a function of a library and its copy refer to the same."""
        cells = zip(function.__closure__ or (), twin.__closure__ or (), strict=True)
        try:
            same = all(one.cell_contents is other.cell_contents for one, other in cells)
        except ValueError:
            return False
        defaults = (function.__defaults__ is twin.__defaults__, not function.__kwdefaults__, not vars(function))
        return same and all(defaults)

    def _empty_cell(self, cell: types.CellType) -> types.CellType:
        known: types.CellType | None = self._copy.memo.get(id(cell))
        return self._copy.memo.setdefault(id(cell), types.CellType()) if known is None else known

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
