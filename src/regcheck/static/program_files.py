"""Reads the programs of a project file by file, or copies them from an earlier reading."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from regcheck.core.finding import NotChecked
from regcheck.core.progress import steps
from regcheck.core.usage import Usage

from .attempts import Attempts
from .interpreter.values import Instance, Module, descendants
from .lowered_models import ModelLowering, identities_of_parts
from .models.unregistered import unregistered_modules
from .programs.reader import TRAINING_STEP, Program, ProgramReader
from .programs.shared_imports import SharedImports
from .project.entry_points import program_functions
from .project.files import Source
from .project.names import Project
from .project.outlines import outlines_of
from .reading import (
    CalledModel,
    Dependencies,
    EarlierReadings,
    FilePrograms,
    LoweredModel,
    Position,
    ProgramReading,
    ProgramsReading,
    Training,
)


def read_programs(project: Project, earlier: EarlierReadings) -> ProgramsReading:
    """All programs of a project, and the readings of each file: tops, then trainings and functions that none enters.

    Of like models that programs construct the first is lowered. What is `earlier` is copied.
    """
    lowered: set[str] = set()
    has_trainings = any(TRAINING_STEP.encode() in each.content for each in project.sources)
    shared = SharedImports(project)
    files = {
        each.path: ProgramFile(project, each, earlier.programs.get(each.path), lowered, shared)
        for each in project.relevant
    }
    read: list[ProgramReading] = []
    for file in steps(files.values(), lambda each: f"reading {each.source.path}"):
        read.append(file.top())
    entered = frozenset[Position]().union(*(each.entered for each in read))
    trainings = [(file, each) for file in files.values() if has_trainings for each in file.trainings()]
    for file, training in trainings:
        if training.step not in entered:
            read.append(file.training(training))
    called: dict[str, set[Position]] = {}
    for one in read:
        _note_calls(called, files, one)
    outlines = outlines_of(project, earlier.outlines, earlier.models)
    for source, function in program_functions(project, outlines):
        position = source.path, function.line, function.column
        if not _is_called(position, source, called):
            read.append(one := files[source.path].function(position))
            _note_calls(called, files, one)
    return ProgramsReading(tuple(read), tuple([each.reading() for each in files.values()]), tuple(outlines))


def _note_calls(called: dict[str, set[Position]], files: Mapping[str, ProgramFile], program: ProgramReading) -> None:
    called.setdefault(files[program.path].source.library, set()).update(program.entered)


def _is_called(position: Position, source: Source, called: Mapping[str, set[Position]]) -> bool:
    """Whether code has called a function: where it belongs to a library, code of that library.

    Tests and examples use a library in their way, and others use it in theirs.
    """
    library = source.library
    return any(position in each for user, each in called.items() if not library or user == library)


class ProgramFile:
    """The programs of one file; `lowered` are the likenesses of the models that earlier programs have lowered."""

    def __init__(
        self,
        project: Project,
        source: Source,
        earlier: FilePrograms | None,
        lowered: set[str],
        shared: SharedImports,
    ) -> None:
        self._shared = shared
        self.source = source
        self._whole = project
        self._lowered = lowered
        self._earlier = earlier or FilePrograms(source.path, ProgramReading(), None)
        self._top = None if earlier is None else earlier.top
        self._others = {**self._earlier.others}
        self._trainings = self._earlier.trainings
        self._followed: _FollowedFile | None = None

    def top(self) -> ProgramReading:
        """The program that running the file is."""
        if self._top is None or not self._is_usable(self._top):
            self._top = self._follow().top()
        return self._used(self._top)

    def trainings(self) -> tuple[Training, ...]:
        """The classes of the file whose training a library runs, step by step."""
        if self._trainings is None:
            self._trainings = tuple(self._follow().trainings())
        return self._trainings

    def training(self, training: Training) -> ProgramReading:
        """The program that a library runs to train a model."""
        return self._other(training.place, _FollowedFile.training)

    def function(self, position: Position) -> ProgramReading:
        """The program that a call of a function is."""
        return self._other(position, _FollowedFile.function)

    def reading(self) -> FilePrograms:
        """All that was read or copied."""
        if self._followed is None:
            return self._earlier
        assert self._top is not None
        dependencies = self._earlier.dependencies.joined(self._followed.dependencies())
        return FilePrograms(self.source.path, self._top, self._trainings, self._others, dependencies)

    def _other(self, position: Position, read: Callable[[_FollowedFile, Position], ProgramReading]) -> ProgramReading:
        program = self._others.get(position)
        if program is None or not self._is_usable(program):
            program = self._others[position] = read(self._follow(), position)
        return self._used(program)

    def _follow(self) -> _FollowedFile:
        if self._followed is None:
            self._followed = _FollowedFile(self._whole.afresh(), self.source, self._lowered, self._shared)
        return self._followed

    def _is_usable(self, program: ProgramReading) -> bool:
        """Whether each model of a program is lowered that no earlier one is like."""
        own: set[str] = set()
        for each in program.models:
            if not each.is_lowered and each.likeness not in self._lowered and each.likeness not in own:
                return False
            own.add(each.likeness)
        return True

    def _used(self, program: ProgramReading) -> ProgramReading:
        self._lowered.update(each.likeness for each in program.models)
        return program


class _FollowedFile:
    """A file whose programs are interpreted; of what is memoized for other files it uses only `shared` imports."""

    def __init__(self, project: Project, source: Source, lowered: set[str], shared: SharedImports) -> None:
        self.project = project
        self.source = source
        self._attempts = Attempts(project)
        self._lowering = ModelLowering(project, self._attempts, lowered)
        self._reader = ProgramReader(project, source, shared)
        self._top: list[Program] = []
        self._top_usages = [*self._attempt(source.module, 1, self._reader.top, self._top)]
        self._top_failures = self._attempts.take()

    def dependencies(self) -> Dependencies:
        return Dependencies.of(self.project, self.source)

    def top(self) -> ProgramReading:
        return self._reading(self._top_usages, self._top_failures, self._top)

    def trainings(self) -> Iterator[Training]:
        for definition in self.project.definitions_in(self.source) if self.source.analyzed else ():
            step = definition.method(TRAINING_STEP)
            if step is not None and definition.is_module:
                position = position_of(step.source, step.node)
                yield Training(definition.name, position_of(self.source, definition.node), position)

    def training(self, position: Position) -> ProgramReading:
        for definition in self.project.definitions_in(self.source):
            if position_of(self.source, definition.node) == position:
                return self._other(definition.name, position, partial(self._reader.training_of, definition))
        raise LookupError(position)

    def function(self, position: Position) -> ProgramReading:
        for function in self.project.functions_in(self.source):
            if position_of(self.source, function.node) == position:
                return self._other(function.name, position, partial(self._reader.call_of, function))
        raise LookupError(position)

    def _other(self, name: str, position: Position, run: Callable[[], Program]) -> ProgramReading:
        programs: list[Program] = []
        usages = [*self._attempt(name, position[1], run, programs)]
        return self._reading(usages, self._attempts.take(), programs)

    def _attempt(self, name: str, line: int, run: Callable[[], Program], programs: list[Program]) -> Iterator[Usage]:
        """The usage of a program, which is added to `programs`, if it can be followed."""

        def work() -> Usage:
            programs.append(program := run())
            if program.usage is None:
                assert program.failure is not None
                raise program.failure
            return program.usage

        return self._attempts.attempt(name, self.source.path, line, work)

    def _reading(
        self, usages: list[Usage], failures: tuple[NotChecked, ...], programs: list[Program]
    ) -> ProgramReading:
        models: list[LoweredModel] = []
        not_checked = [*failures]
        called: dict[str, CalledModel] = {}
        for program in programs:
            built = [*program.models.values()]
            with _modes_forgotten(built):
                for key, model in program.models.items():
                    outcome = self._lowering.lower(model, {*program.entered, *self._reader.imports.entered})
                    if isinstance(outcome, NotChecked):
                        not_checked.append(outcome)
                        continue
                    models.append(outcome)
                    if outcome.not_followed is None:
                        of = (
                            (model.definition.source.path, model.definition.name) if isinstance(model, Instance) else ()
                        )
                        called[key] = CalledModel(outcome.likeness, *of)
            return ProgramReading(
                self.source.path,
                tuple(usages),
                tuple(models),
                tuple(not_checked),
                called,
                program.scored,
                identities_of_parts(built),
                program.features,
                self._positions(program.entered),
            )
        return ProgramReading(self.source.path, not_checked=failures)

    def _positions(self, entered: frozenset[int]) -> frozenset[Position]:
        """The positions of functions, given the ids of their nodes."""
        files = {self.source, *self.project.modules.reached}
        return frozenset([position_of(each, node) for each in files for node in each.functions if id(node) in entered])


@contextmanager
def _modes_forgotten(models: list[Module]) -> Iterator[None]:
    """Runs the block with no mode set; a hidden module keeps its mode, which no call on its model sets."""
    hidden = frozenset[int]().union(*map(unregistered_modules, models))
    modes = [
        (each.cells, each.cells.pop("training"))
        for model in models
        for _, each in descendants(model)
        if id(each) not in hidden and "training" in each.cells
    ]
    yield
    for cells, mode in modes:
        cells["training"] = mode


def position_of(source: Source, node: ast.AST) -> Position:
    """The position of a definition in a file."""
    return source.path, getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
