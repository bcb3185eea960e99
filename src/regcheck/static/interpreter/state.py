"""The state of an interpreted program: its frames, the trail that undoes branches, and the join of alternatives."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from regcheck.core.errors import CannotTrace
from regcheck.files.place import Place
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

from .constant_folding import WORK, fits, work_of
from .values import (
    ANY_ITEMS,
    FIXED,
    VARYING,
    Bound,
    Cells,
    Constant,
    Either,
    External,
    Function,
    Items,
    Maybe,
    Module,
    ParameterOf,
    Partial,
    Setting,
    TensorRef,
    Unknown,
    UnknownObject,
    Value,
    Weight,
    by_default,
    computed_from,
    descendants,
    is_atom,
    tick,
)

if TYPE_CHECKING:
    from .domain import Domain

ABSENT = object()
OUTER = "<outer>"
DEEPEST = 40
"""A call inside of more frames than this is not followed."""
MOST_STEPS = 100_000
"""The steps that one program or model may take."""
STEP_SHARES = (100_000, 100_000, 30_000, 10_000)
"""The steps that a call may take, by the number of frames around it."""
SECONDS = 20
"""The CPU time limit for one file; the largest models of public libraries take two."""
_MOST_OPTIONS = 64
"""Among more distinct values than this, constants are no longer told apart."""
_STEP = 256
"""The number of characters, items or bits that one step pays for."""
_MODE_WORDS = re.compile(
    r"train|eval|infer|test|valid|predict|sampl|determin|phase|stage|mode|mc_|stoch|nois|augm", re.I
)


class TooLong(CannotTrace):
    """A piece of code takes more steps than it may."""


class OutOfTime(CannotTrace):
    """A file takes more CPU time than it may."""


@dataclass(frozen=True)
class Doubt:
    """An undecided branch around the current statement; it is true if the branch may differ between calls.

    `off_by_default` says that the branch is taken only if the user of the program changes a default.
    """

    varies: bool
    off_by_default: bool = False

    def __bool__(self) -> bool:
        return self.varies


_DOUBTS = {(varies, off): Doubt(varies, off) for varies in (False, True) for off in (False, True)}


class Next(Enum):
    """Where control goes after a statement."""

    GO = "on"
    RETURN = "out of the function"
    RAISE = "out, by an error"
    BREAK = "out of the loop"
    CONTINUE = "to the next pass"


@dataclass(eq=False)
class Frame:
    """A running function, or the top of a file (`function` is None)."""

    function: Function | None
    source: Source
    locals: Cells
    name: str = "<module>"
    returns: list[Value] = field(default_factory=list)


@dataclass
class Work:
    """What a call takes: its steps, the functions that it enters by the ids of their nodes, and its depth in frames."""

    steps: int = 0
    entered: frozenset[int] = frozenset()
    depth: int = 0


@dataclass(frozen=True)
class Choice:
    """The alternative, by its index, that the default of a setting selects."""

    index: int
    setting: Setting


class State:
    """The state that the parts of one interpreter share; the domain joins tensors."""

    def __init__(self, project: Project, domain: Domain) -> None:
        self.project = project
        self.domain = domain
        self.limit = MOST_STEPS
        self.steps = 0
        self.frames: list[Frame] = []
        self.globals: dict[str, Cells] = {}
        """The names that running a file binds, by its path."""
        self.doubts: list[Doubt] = []
        """One entry for each undecided branch around the current statement."""
        self.cuts = 0
        """The number of calls that were not followed because of a limit."""
        self.trail: list[tuple[Cells, str, object]] = []
        self.repeats: list[tuple[int, int]] = []
        """For each running loop of an unknown number of passes, the trail's length and the time when it began."""
        self.entered: set[int] = set()
        """The functions that were entered, by the ids of their nodes."""
        self.deepest = 0
        """The largest number of frames around a call."""
        self.created: list[Module] = []
        """The modules and objects that were constructed."""

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    @contextmanager
    def within(self, frame: Frame) -> Iterator[None]:
        """Runs the block in a frame."""
        doubts = len(self.doubts)
        self.frames.append(frame)
        try:
            yield
        finally:
            self.frames.pop()
            del self.doubts[doubts:]

    def place(self, node: ast.AST) -> Place:
        """The position of a node, as a traceback would report it."""
        place = self.project.places.get(node)
        if place is None:
            line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
            place = self.project.places[node] = Place(self.frames[-1].source.path, line, column)
        return place

    def spend(self, size: float) -> None:
        """Charges the steps of handling so many characters, items or bits.

        Raises:
            TooLong: no steps are left.
        """
        self.steps += int(size) // _STEP
        if self.steps > self.limit:
            raise TooLong("too long to follow from the source")

    def compute(self, compute: Callable[..., object], *values: Any) -> Value:
        """The result of an operation on constants; unknown if it is too large, or if the operation fails.

        An operation may fail because the interpreter also runs branches that the program never takes.
        """
        work = work_of(compute, values)
        if work > WORK:
            return FIXED
        self.spend(work)
        try:
            result = compute(*values)
        except Exception:
            return FIXED
        return Constant(result) if fits(result) else FIXED

    @property
    def running(self) -> set[int]:
        """The functions that are running, by the ids of their nodes."""
        return {id(each.function.node) for each in self.frames if each.function is not None}

    @contextmanager
    def measure(self) -> Iterator[Work]:
        """Fills in, when the block ends, the work that the block does."""
        steps, deepest, entered = self.steps, self.deepest, self.entered
        self.deepest, self.entered = len(self.frames), set()
        work = Work()
        try:
            yield work
        finally:
            work.steps, work.entered = self.steps - steps, frozenset(self.entered)
            work.depth = self.deepest - len(self.frames)
            self.deepest, self.entered = max(deepest, self.deepest), entered
            entered |= work.entered

    def fits(self, work: Work) -> bool:
        """Whether a call that takes so much work would reach no limit here."""
        return (
            self.steps + work.steps <= self.limit
            and len(self.frames) + work.depth <= DEEPEST
            and self.running.isdisjoint(work.entered)
        )

    def charge(self, work: Work) -> None:
        """Counts the work of a call that is not run because its result is cached."""
        self.steps += work.steps
        self.entered |= work.entered
        self.deepest = max(self.deepest, len(self.frames) + work.depth)

    def set(self, cells: Cells, key: str, value: object) -> None:
        self.trail.append((cells, key, cells.get(key, ABSENT)))
        cells[key] = value

    def changes_in_loop(self, cells: Cells) -> bool:
        """Whether a running loop of an unknown number of passes has changed cells that are older than the loop."""
        return any(
            cells.born <= began and any(each is cells for each, _, _ in self.trail[mark:])
            for mark, began in self.repeats
        )

    def set_requires_grad(self, module: Module, value: bool | None) -> None:
        """Switch the training of all parameters of a module on or off; None: nobody knows which."""
        setting = VARYING if value is None else Constant(value)
        for _, each in descendants(module):
            self.set(each.cells, "requires_grad", setting)
            for name, cell in list(each.cells.items()):
                if isinstance(cell, Weight):
                    self.set(each.cells, name, Weight(value))
                elif name.endswith(".requires_grad"):
                    self.set(each.cells, name, setting)

    def undo(self, mark: int, since: int) -> None:
        """Undoes the writes since the trail had length `mark`, except to cells that were created after `since`."""
        trail = self.trail
        while len(trail) > mark:
            cells, key, before = trail.pop()
            if cells.born > since:
                continue
            if before is ABSENT:
                cells.pop(key, None)
            else:
                cells[key] = before

    @property
    def is_off_by_default(self) -> bool:
        """Whether the current statement runs only if the user of the program changes a default."""
        return any(each.off_by_default for each in self.doubts)

    def branch(
        self,
        runs: Sequence[Callable[[], Next]],
        doubt: bool,
        default: Choice | None = None,
        tensors: Sequence[TensorRef] = (),
    ) -> Next:
        """Runs alternatives from the same state, and joins the states of those that go on.

        The alternative that is the `default` is not in doubt, and what it assigns is the default of what all assign.
        The domain learns which `tensors` select the alternative, unless all leave the same state.
        """
        is_chosen = default is not None
        outcomes: list[tuple[Next, dict[tuple[int, str], tuple[Cells, str, object]]]] = []
        for index, each in enumerate(runs):
            mark, doubts, since = len(self.trail), len(self.doubts), tick()
            if default is None or index != default.index:
                self.doubts.append(_DOUBTS[doubt, is_chosen])
            end = each()
            del self.doubts[doubts:]
            written = {
                (id(cells), key): (cells, key, cells.get(key, ABSENT))
                for cells, key, _ in self.trail[mark:]
                if cells.born <= since
            }
            self.undo(mark, since)
            outcomes.append((end, written))
        if tensors and (len({end for end, _ in outcomes}) > 1 or any(written for _, written in outcomes)):
            self.domain.branch(tensors)
        goes_on = [end is not Next.RETURN and end is not Next.RAISE for end, _ in outcomes]
        going = [written for (_, written), goes in zip(outcomes, goes_on, strict=True) if goes]
        if default is not None:
            default = replace(default, index=sum(goes_on[: default.index])) if goes_on[default.index] else None
        for cells, key, _ in {where: cell for written in going for where, cell in written.items()}.values():
            before = cells.get(key, ABSENT)
            alternatives = [written.get((id(cells), key), (cells, key, before))[2] for written in going]
            self.set(cells, key, self._join_cells(alternatives, default))
            if any(each is ABSENT for each in alternatives):
                cells.doubtful |= {key}
        ends = {end for end, _ in outcomes}
        if not going:
            return Next.RETURN if Next.RETURN in ends else Next.RAISE
        if Next.RETURN in ends and default is None:
            self.doubts.append(_DOUBTS[doubt, is_chosen])
        return ends.pop() if len(ends) == 1 else Next.GO

    def join_chosen(self, values: Sequence[Value], default: Choice | None) -> Value:
        """The join of values, which is a setting where the default among them is a constant, a function or a class."""
        if default is None:
            return self.join(values)
        chosen = by_default(values[default.index])
        if is_atom(chosen) and any(each != values[default.index] for each in values):
            return computed_from([default.setting], chosen)
        return self.domain.joined_with_default(self.join(values), chosen)

    def _join_cells(self, alternatives: Sequence[object], default: Choice | None) -> object:
        """The join of what branches leave in a cell: values, or the tuples that `Items` keep."""
        first = alternatives[0]
        if all(each is first for each in alternatives) and type(first) is not Either:
            return first
        present = [each for each in alternatives if each is not ABSENT]
        if all(isinstance(each, tuple) for each in present):
            return self._join_items([each for each in present if isinstance(each, tuple)])
        values: list[Value] = [each for each in present if not isinstance(each, tuple)]  # type: ignore[misc]
        chosen = ABSENT if default is None else alternatives[default.index]
        if default is not None and chosen in values:
            default = replace(default, index=values.index(chosen))  # type: ignore[arg-type]
        return self.join_chosen(values, None if chosen is ABSENT else default)

    def _join_items(self, sequences: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
        shortest, longest = min(sequences, key=len), max(sequences, key=len)
        common = 0
        while common < len(shortest) and all(_is_same(each[common], shortest[common]) for each in sequences):
            common += 1
        if common == len(longest):
            return longest
        if common == len(shortest) and len({len(each) for each in sequences}) == 2:
            return (*shortest, Maybe(longest[common:]))
        if len(shortest) == len(longest) and all(not isinstance(each, tuple) for each in longest):
            return self._join_columns(sequences)
        return (*shortest[:common], *ANY_ITEMS)

    def _join_columns(self, sequences: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
        self.spend(_STEP * len(sequences[0]))
        return tuple([self.join(column) for column in zip(*sequences, strict=True)])

    def join(self, values: Sequence[Value]) -> Value:
        """The value that is one of `values`, whichever branch the program takes."""
        if len(values) == 1 and not isinstance(values[0], Either):
            return values[0]
        self.spend(len(values))
        distinct: list[Value] = []
        for each in values:
            for option in each.options if isinstance(each, Either) else (each,):
                if len(distinct) > _MOST_OPTIONS and isinstance(option, Constant):
                    continue
                like = _index_of(option, distinct)
                if like is None:
                    distinct.append(option)
                elif isinstance(option, Constant) and not option.default:
                    distinct[like] = option
                elif isinstance(option, Weight) and option != distinct[like]:
                    distinct[like] = Weight()  # trained or not, it is one parameter
        if len(distinct) == 1:
            return distinct[0]
        if any(isinstance(each, TensorRef) for each in distinct):
            return self.domain.join_tensors(distinct)
        if any(isinstance(each, ParameterOf) for each in distinct):
            joined = self.domain.join_parameters(distinct)
            if joined is not None:
                return joined
        if all(isinstance(each, Items) and each.exact for each in distinct):
            sequences = [each.items for each in distinct if isinstance(each, Items)]
            if len({len(each) for each in sequences}) == 1:
                return Items.of(self._join_columns(sequences))
        objects = tuple([each for each in distinct if isinstance(each, UnknownObject)])
        if len(objects) == len(distinct):
            return UnknownObject(True, origins=objects)
        if len(distinct) > 4 or any(isinstance(each, Unknown) for each in distinct):
            telling = [each for each in distinct if isinstance(each, (Module, Constant, Function, Partial))]
            return Either((*telling[:4], VARYING)) if telling else VARYING
        return Either(tuple(distinct))

    def is_doubtful(self, test: ast.expr, value: Value) -> bool:
        """Whether an undecided condition may differ between calls or modes; otherwise it is a fixed setting."""
        if isinstance(value, TensorRef) or (isinstance(value, Unknown) and value.varies):
            return True
        about_mode = self.project.about_mode
        if test not in about_mode:
            about_mode[test] = any(_MODE_WORDS.search(word) is not None for word in _words(test))
        return about_mode[test]


def _words(node: ast.expr) -> Iterator[str]:
    """The names and strings in an expression."""
    for each in walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _index_of(option: Value, distinct: Sequence[Value]) -> int | None:
    """The index of the same value among the first of several; None if it is not there."""
    for index, other in enumerate(distinct):
        if index == _MOST_OPTIONS:
            break
        if _is_same(option, other):
            return index
    return None


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, Weight):
        return isinstance(other, Weight)
    return one is other or (isinstance(one, (Constant, Unknown, TensorRef, Bound, External)) and one == other)
