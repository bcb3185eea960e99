"""The state of an interpreted program: frames, a trail that lets branches be undone, and the join of alternatives."""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from regcheck.core.errors import CannotTrace
from regcheck.files.place import Place
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

from .constant_folding import WORK, fits, work_of
from .values import (
    Bound,
    Cells,
    Constant,
    Either,
    External,
    Function,
    Items,
    Maybe,
    Module,
    Partial,
    Several,
    TensorRef,
    Unknown,
    Value,
    Weight,
    descendants,
    now,
)

ABSENT = object()
OUTER = "<outer>"
_MANY = 64
"""Of more values than this no constant is told apart from the others."""
SECONDS = 20
"""The CPU time that may be spent on following one file; the largest models of public libraries take two."""
_ABOUT_MODE = re.compile(
    r"train|eval|infer|test|valid|predict|sampl|determin|phase|stage|mode|mc_|stoch|nois|augm", re.I
)


_PER_STEP = 256
"""So many characters, items or bits are handled at the cost of one step."""


class TooLong(CannotTrace):
    """More is to be interpreted than a scan has time for."""


class OutOfTime(CannotTrace):
    """A file has taken its time, and the rest of it is left."""


class Next(Enum):
    """Where control goes after a statement."""

    GO = "on"
    RETURN = "out of the function"
    RAISE = "out, by an error"
    BREAK = "out of the loop"
    CONTINUE = "to the next pass"


@dataclass(eq=False)
class Frame:
    """A function being interpreted, or the top of a file (`function` is None)."""

    function: Function | None
    source: Source
    locals: Cells
    name: str = "<module>"
    returns: list[Value] = field(default_factory=list)


class Machine(ABC):
    """State, and the questions that what is built on it answers: lowering and program reading differ in these only."""

    limit = 100_000

    def __init__(self, project: Project) -> None:
        self.project = project
        self.frames: list[Frame] = []
        self.doubts: list[bool] = []
        self.steps = 0
        self.cuts = 0
        """How often something was not followed because it would have taken too long."""
        self.log: list[tuple[Cells, str, object]] = []
        self.ran: set[int] = set()
        self.made: list[Module] = []

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def place(self, node: ast.AST) -> Place:
        """Where a node stands, as a running program would tell it."""
        found = self.project.places.get(node)
        if found is None:
            line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
            found = self.project.places[node] = Place(self.frame.source.path, line, column)
        return found

    @abstractmethod
    def evaluate(self, node: ast.expr) -> Value: ...

    @abstractmethod
    def run(self, body: Sequence[ast.stmt]) -> Next: ...

    @abstractmethod
    def call(self, callee: Value, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr) -> Value: ...

    @abstractmethod
    def method(
        self, owner: Value, name: str, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr
    ) -> Value: ...

    @abstractmethod
    def attribute(self, owner: Value, name: str) -> Value: ...

    def spend(self, work: float) -> None:
        """Charge the steps of handling so many characters, items or bits.

        Raises:
            TooLong: they are used up.
        """
        self.steps += int(work) // _PER_STEP
        if self.steps > self.limit:
            raise TooLong("too long to follow from the source")

    def computed(self, compute: Callable[..., object], *values: Any) -> Value:
        """What an operation gives for constants; unknown where that is too large.

        It is unknown as well where the operation fails, as it may for the constants of a dead branch.
        """
        work = work_of(compute, values)
        if work > WORK:
            return Unknown()
        self.spend(work)
        try:
            found = compute(*values)
        except Exception:
            return Unknown()
        return Constant(found) if fits(found) else Unknown()

    def call_module(
        self, module: Module, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr
    ) -> Value:
        """What a call of a module gives."""
        return self.opaque((module, *args, *kwargs.values()), node)

    def call_torch(
        self, name: str, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr
    ) -> Value | None:
        """What a call of torch's function of that canonical name gives; None to treat it as any unknown function."""
        return None

    def opaque(self, values: Sequence[Value], node: ast.AST) -> Value:
        """What something that cannot be followed gives for these values."""
        return blurred(values)

    def join_traced(self, values: Sequence[Value]) -> Value:
        """One of several values, some of them traced."""
        return Unknown(varies=True)

    def training(self, module: Module) -> Value:
        """The mode a module is in."""
        found: Value = module.cells.get("training", Constant(True))
        return found

    def set_training(self, value: Value, training: Value, node: ast.AST) -> None:
        """`train()`, `eval()` or an assignment to `training`."""
        if isinstance(value, Module):
            for _, each in descendants(value):
                self.set(each.cells, "training", training)

    def set(self, cells: Cells, key: str, value: object) -> None:
        self.log.append((cells, key, cells.get(key, ABSENT)))
        cells[key] = value

    def undo(self, mark: int, since: int) -> None:
        """Take back what was written since the log had length `mark`, but for what was made since then."""
        while len(self.log) > mark:
            cells, key, before = self.log.pop()
            if cells.born > since:
                continue
            if before is ABSENT:
                cells.pop(key, None)
            else:
                cells[key] = before

    def branch(self, runs: Sequence[Callable[[], Next]], doubt: bool) -> Next:
        """Run alternatives from the same state, and go on with what those that go on leave behind."""
        outcomes: list[tuple[Next, dict[tuple[int, str], tuple[Cells, str, object]]]] = []
        for each in runs:
            mark, known, since = len(self.log), len(self.doubts), now()
            self.doubts.append(doubt)
            end = each()
            del self.doubts[known:]
            left = {
                (id(cells), key): (cells, key, cells.get(key, ABSENT))
                for cells, key, _ in self.log[mark:]
                if cells.born <= since
            }
            self.undo(mark, since)
            outcomes.append((end, left))
        going = [left for end, left in outcomes if end not in (Next.RETURN, Next.RAISE)]
        for cells, key, _ in {where: cell for left in going for where, cell in left.items()}.values():
            before = cells.get(key, ABSENT)
            found = [left.get((id(cells), key), (cells, key, before))[2] for left in going]
            self.set(cells, key, self._joined(found))
            if any(each is ABSENT for each in found):
                cells.doubtful |= {key}
        ends = {end for end, _ in outcomes}
        if not going:
            return Next.RETURN if Next.RETURN in ends else Next.RAISE
        if Next.RETURN in ends:
            self.doubts.append(doubt)
        return ends.pop() if len(ends) == 1 else Next.GO

    def _joined(self, found: Sequence[object]) -> object:
        present = [each for each in found if each is not ABSENT]
        if all(isinstance(each, tuple) for each in present):
            return self._joined_items([each for each in present if isinstance(each, tuple)])
        return self.join([each for each in present if not isinstance(each, tuple)])  # type: ignore[misc]

    def _joined_items(self, found: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
        shortest, longest = min(found, key=len), max(found, key=len)
        common = 0
        while common < len(shortest) and all(_same(each[common], shortest[common]) for each in found):
            common += 1
        if common == len(longest):
            return longest
        if common == len(shortest) and len({len(each) for each in found}) == 2:
            return (*shortest, Maybe(longest[common:]))
        if len(shortest) == len(longest) and all(not isinstance(each, tuple) for each in longest):
            self.spend(_PER_STEP * len(longest))
            return tuple(self.join(list(column)) for column in zip(*found, strict=True))
        return (*shortest[:common], Several(Unknown(varies=True)))

    def join(self, values: Sequence[Value]) -> Value:
        """The value that is one of `values`, whichever branch was taken."""
        if len(values) == 1 and not isinstance(values[0], Either):
            return values[0]
        self.spend(len(values))
        distinct: list[Value] = []
        for each in values:
            for option in each.options if isinstance(each, Either) else (each,):
                if len(distinct) > _MANY and isinstance(option, Constant):
                    continue
                like = next((n for n, known in enumerate(distinct[:_MANY]) if _same(option, known)), None)
                if like is None:
                    distinct.append(option)
                elif isinstance(option, Constant) and not option.default:
                    distinct[like] = option
        if len(distinct) == 1:
            return distinct[0]
        if any(isinstance(each, TensorRef) for each in distinct):
            return self.join_traced(distinct)
        if all(isinstance(each, Items) and each.exact for each in distinct):
            lists = [each.items for each in distinct if isinstance(each, Items)]
            if len({len(each) for each in lists}) == 1:
                self.spend(_PER_STEP * len(lists[0]))
                return Items.of(tuple(self.join(list(column)) for column in zip(*lists, strict=True)))
        if len(distinct) > 4 or any(isinstance(each, Unknown) for each in distinct):
            kept = [each for each in distinct if isinstance(each, (Module, Constant, Function, Partial))]
            return Either((*kept[:4], Unknown(varies=True))) if kept else Unknown(varies=True)
        return Either(tuple(distinct))

    def doubt(self, test: ast.expr, value: Value) -> bool:
        """Whether a condition that cannot be told may differ between calls or modes; else it is a fixed setting."""
        if isinstance(value, TensorRef) or (isinstance(value, Unknown) and value.varies):
            return True
        known = self.project.about_mode
        if test not in known:
            known[test] = any(_ABOUT_MODE.search(word) is not None for word in _words(test))
        return known[test]

    @contextmanager
    def entered(self, frame: Frame) -> Iterator[Frame]:
        known = len(self.doubts)
        self.frames.append(frame)
        try:
            yield frame
        finally:
            self.frames.pop()
            del self.doubts[known:]


_FIXED, _VARYING = Unknown(), Unknown(varies=True)


def blurred(values: Sequence[Value]) -> Unknown:
    """What cannot be told that is made of these values: it varies if one of them does."""
    for each in values:
        if isinstance(each, Unknown) and each.varies:
            return _VARYING
    return _FIXED


def _words(node: ast.expr) -> Iterator[str]:
    """The names and strings in an expression."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, (Constant, Unknown, TensorRef, Bound, External, Weight)) and one == other)
