"""Shares what the tops of files leave, between the files whose programs reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from regcheck.core.errors import CannotTrace
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import (
    Bound,
    Cells,
    Constant,
    Either,
    Entries,
    External,
    Function,
    Instance,
    Items,
    Maybe,
    Namespace,
    Partial,
    Setting,
    Several,
    Unknown,
    UnknownModel,
    UnknownObject,
    Weight,
)
from regcheck.static.project.files import Source
from regcheck.static.project.names import Definition, Project

from .control_flow import program_interpreter
from .domain import ProgramDomain

_ATOMS = frozenset((Constant, Unknown, External, Weight))


@dataclass(frozen=True)
class SharedImport:
    """What the top of a file leaves, whichever program reaches it.

    Attributes:
        cells: the names that the top binds. Programs write to copies of it only.
        files: the paths of the files whose tops ran, with its own.
        entered: the functions that the tops entered, by the ids of their nodes.
        project: says of which files and functions the result depends.
    """

    cells: Cells
    files: frozenset[str]
    entered: frozenset[int]
    project: Project

    def copy(self, project: Project) -> ImportCopy:
        """The names and their values, for programs of `project`, which then depends on the same files."""
        project.modules.reached |= self.project.modules.reached
        project.mentioned |= self.project.mentioned
        return ImportCopy(project, self.cells)


class SharedImports:
    """The tops that leave the same state wherever they run, each interpreted once.

    Such a top constructs no model and no optimizer, and notes nothing about one. Of other files it reads only those
    with such a top, and it neither changes nor keeps an object of theirs.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._runnable = frozenset(project.relevant)
        self._imports: dict[str, SharedImport | None] = {}

    def of(self, source: Source) -> SharedImport | None:
        """What the top of a file leaves; None where that depends on the program that reaches it."""
        path = source.path
        if path not in self._imports:
            self._imports[path] = None  # for a file that this one imports and that imports this one
            self._imports[path] = _ImportRun(self, self._project.afresh(), source).result()
        return self._imports[path]

    def is_runnable(self, source: Source) -> bool:
        """Whether the top of a file can matter to a rule."""
        return source in self._runnable


class _ImportRun:
    """Interprets the top of a file alone; ends as soon as its result cannot be shared."""

    def __init__(self, shared: SharedImports, project: Project, source: Source) -> None:
        self._shared = shared
        self._project = project
        self._source = source
        self._imported: dict[str, ImportCopy] = {}
        self._files = {source.path}
        self._entered: set[int] = set()
        self._is_shareable = True
        self._domain = ProgramDomain(self._globals_of, source.path)
        self._interpreter = program_interpreter(project, self._domain)

    def result(self) -> SharedImport | None:
        """What the top leaves."""
        state, source = self._interpreter.state, self._source
        cells = state.globals[source.path] = Cells(__name__=Constant(source.module))
        self._domain.begin(source.path)
        try:
            with state.within(Frame(None, source, cells)):
                self._interpreter.statements.run(source.tree.body)
        except CannotTrace:
            pass  # the reader of the file itself says so
        except RecursionError:
            return None
        if not self._is_shareable or any(each.is_module for each in state.created) or self._project.settings:
            return None
        if any(getattr(part, name) for part in self._domain.parts for name in part.lasting):
            return None
        imported = self._imported.values()
        if not all(each.is_unchanged() for each in imported):
            return None
        try:
            own = ImportCopy(self._project, cells)
        except _NotShareableError:
            return None
        if any(not own.originals.isdisjoint(each.objects) for each in imported):
            return None
        return SharedImport(cells, frozenset(self._files), frozenset(self._entered | state.entered), self._project)

    def _globals_of(self, source: Source) -> Cells:
        """The names that the top of another file binds; if these depend on the program, the run ends."""
        path = source.path
        if path not in self._imported:
            self._imported[path] = ImportCopy(self._project, Cells())
            shared = self._shared.of(source) if self._shared.is_runnable(source) else None
            if shared is not None:
                self._imported[path] = shared.copy(self._project)
                self._files |= shared.files
                self._entered |= shared.entered
            elif self._shared.is_runnable(source):
                self._is_shareable = False
                self._interpreter.state.limit = -1
        return self._imported[path].names


class _NotShareableError(Exception):
    """A value belongs to the program in which it came to be."""


class ImportCopy:
    """A copy of the names that the top of a file binds, and of their values.

    Attributes:
        names: the copied names.
        originals: the ids of the cells and objects that were copied.
        objects: the ids of their copies.

    Raises:
        _NotShareableError: a value is a model, an optimizer, or something else that programs tell apart.
    """

    def __init__(self, project: Project, cells: Cells) -> None:
        self._project = project
        self._cells: dict[int, Cells] = {}
        self._objects: dict[int, object] = {}
        self.names = self.cells(cells)
        self.originals = frozenset((*self._cells, *self._objects))
        self.objects = frozenset(map(id, (*self._cells.values(), *self._objects.values())))
        self._before = [(each, {**each}) for each in self._cells.values()]

    def is_unchanged(self) -> bool:
        """Whether every cell has the value that was copied."""
        return all(
            len(now) == len(before) and all(now.get(name) is value for name, value in before.items())
            for now, before in self._before
        )

    def cells(self, cells: Cells) -> Cells:
        """A copy of cells; copies of the same cells are the same."""
        copy = self._cells.get(id(cells))
        if copy is None:
            copy = self._cells[id(cells)] = Cells()
            copy.update({name: self._cell(value) for name, value in cells.items()})
            copy.doubtful = cells.doubtful
        return copy

    def _cell(self, value: object) -> object:
        return self._all(value) if isinstance(value, tuple) else self._cells_or_value(value)

    def _cells_or_value(self, value: object) -> object:
        return self.cells(value) if isinstance(value, Cells) else self._value(value)

    def _all(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([self._value(each) for each in values])

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._value(each) for name, each in values.items()}

    def _value(self, value: Any) -> Any:
        """A copy of a value; classes and functions of files are those of the project."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is Definition and value.outer is None:
            return self._project.definition(value.node, value.source, value.name)
        if kind is Function and value.outer is None and value.owner is None and value.instance is None:
            return self._project.function(value.node, value.source)
        if id(value) not in self._objects:
            self._objects[id(value)] = self._new(value, kind)
        return self._objects[id(value)]

    def _new(self, value: Any, kind: type) -> object:
        if kind is Setting:
            return replace(value, default=self._value(value.default))
        if kind is Either:
            return Either(self._all(value.options))
        if kind is Several:
            return Several(self._value(value.item))
        if kind is Maybe:
            return Maybe(self._all(value.items))
        if kind is Bound:
            return Bound(self._value(value.receiver), value.name)
        if kind is Partial:
            return Partial(self._value(value.callee), self._all(value.args), self._named(value.kwargs))
        if kind is Function:
            return self._function(value)
        if kind is UnknownObject:
            return self._unknown(value)
        return self._object(value, kind)

    def _function(self, value: Function) -> Function:
        outer = None if value.outer is None else self.cells(value.outer)
        owner = None if value.owner is None else self._value(value.owner)
        instance = None if value.instance is None else self._value(value.instance)
        return replace(value, outer=outer, owner=owner, instance=instance)

    def _unknown(self, value: UnknownObject) -> UnknownObject:
        if value.model.cells:
            raise _NotShareableError
        copy = self._objects[id(value)] = object.__new__(UnknownObject)
        vars(copy).update(
            vars(value),
            model=UnknownModel(None, self.cells(value.model.cells), value.model.name),
            owner=None if value.owner is None else self._value(value.owner),
            origins=self._all(value.origins),
            parts=self._named(value.parts),
        )
        return copy

    def _object(self, value: Any, kind: type) -> object:
        is_plain = kind is Instance and value.base is None and not value.is_module
        if not is_plain and kind not in (Items, Entries, Namespace):
            raise _NotShareableError
        copy: Any = object.__new__(kind)
        self._objects[id(value)] = copy
        vars(copy).update(vars(value))
        copy.cells = self.cells(value.cells)
        if kind is Instance:
            copy.definition = self._value(value.definition)
        return copy
