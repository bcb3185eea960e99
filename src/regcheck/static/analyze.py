"""Reads the source of a project: the graphs of its models, and the events of its programs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from time import process_time
from typing import TypeVar

from regcheck.core.errors import CannotTrace
from regcheck.core.finding import NotChecked
from regcheck.core.progress import steps
from regcheck.core.usage import Usage
from regcheck.files.place import Place

from .interpreter.state import SECONDS
from .interpreter.values import Instance, Module
from .keras_models.reader import KerasReading, read_keras
from .models.constructors import Builder, ConstructorCache
from .models.forward_cache import ForwardCache
from .models.inspection import identity, likeness, name_of, parts_of
from .models.lowering import graph_of
from .models.scoring_methods import scores_itself
from .programs.reader import ProgramReader
from .project.files import Source
from .project.names import Definition, Project
from .reading import CalledModel, ClassReading, FileReading, LoweredModel, ProgramReading, Reading

Result = TypeVar("Result")


def analyze(project: Project, known: Mapping[str, FileReading] | None = None) -> Reading:
    """Reads every program of a project, each of its model classes, and each model that a program constructs.

    A piece that cannot be followed is listed as not checked. Graphs in which no rule can start are left out. `known`
    are the readings of files, by path, from an earlier analysis; without it, models like those that programs construct
    are not lowered again, and the readings of files cannot be copied.
    """
    analysis = Analysis(project)
    programs = analysis.programs()
    lowered = frozenset(each.likeness for each in programs.models) if known is None else frozenset[str]()
    known = known or {}
    to_read = steps(files_with_classes(project), lambda each: f"reading the models of {each.path}")
    files = [known.get(each.path) or read_classes(project, each, lowered) for each in to_read]
    note_unread(project, files)
    return Reading.of(programs, files, analysis.keras())


def note_unread(project: Project, files: Iterable[FileReading]) -> None:
    """Notes which files could not be parsed, according to readings that this process has not made."""
    unread = {path: reason for each in files for path, reason in each.unread.items()}
    for source in project.sources if unread else ():
        source.unread = source.unread or unread.get(source.path)


def files_with_classes(project: Project) -> list[Source]:
    """The files whose model classes are followed."""
    return [each for each in project.relevant if each.analyzed]


def read_classes(project: Project, source: Source, lowered: frozenset[str] = frozenset()) -> FileReading:
    """Builds each model class of a file and lowers the models, except those with a likeness in `lowered`.

    Nothing that is memoized for other files is used: the reading depends on what it says that it depends on.
    """
    alone = project.afresh()
    classes = tuple(Analysis(alone, lowered).classes(source))
    reached = alone.modules.reached
    return FileReading(
        source.path,
        classes,
        frozenset([each.path for each in reached]),
        frozenset([each.node.name for each in alone.settings]),
        {each.path: each.unread for each in (source, *reached) if each.unread is not None},
    )


class Analysis:
    """The parts of an analysis. Those that one object reads share caches, and each lowers like models once.

    Models with a likeness in `lowered` are not lowered.
    """

    def __init__(self, project: Project, lowered: frozenset[str] = frozenset()) -> None:
        self.project = project
        self._attempts = _Attempts(project)
        self._constructors = ConstructorCache()
        self._forwards = ForwardCache()
        self._lowered = {*lowered}

    def programs(self) -> ProgramReading:
        """Reads all programs, each in the state that earlier ones leave, and lowers the models that they construct."""
        attempts, program = self._attempts, ProgramReader(self.project)
        usages: list[Usage] = []
        for source in steps(self.project.relevant, lambda each: f"reading {each.path}"):
            usages += attempts.attempt(source.module, source.path, 1, partial(program.top_of, source))
        for definition in program.trainings():
            where = definition.name, definition.source.path, definition.node.lineno
            usages += attempts.attempt(*where, partial(program.training_of, definition))
        for function in program.uncalled():
            where = function.name, function.source.path, function.node.lineno
            usages += attempts.attempt(*where, partial(program.call_of, function))
        not_checked = attempts.take()

        models: list[LoweredModel] = []
        called: dict[str, CalledModel] = {}
        entered = program.entered
        for model in program.models:
            outcome = self._lower(model, entered)
            if isinstance(outcome, NotChecked):
                not_checked += (outcome,)
                continue
            models.append(outcome)
            if outcome.not_followed is None:
                of_class = (model.definition.source.path, model.definition.name) if isinstance(model, Instance) else ()
                called[str(id(model))] = CalledModel(outcome.likeness, *of_class)
        return ProgramReading(
            tuple(usages),
            tuple(models),
            not_checked,
            called,
            frozenset(program.scored),
            _parts(program.models),
            frozenset(program.features),
        )

    def classes(self, source: Source) -> Iterator[ClassReading]:
        """Builds and lowers each model class of a file."""
        for definition in self.project.definitions_in(source):
            if definition.is_module:
                yield self._class(definition)

    def keras(self) -> KerasReading:
        """Reads the models of Keras."""
        keras = read_keras(self.project, self._attempts.attempt)
        return replace(keras, not_checked=(*self._attempts.take(), *keras.not_checked))

    def _class(self, definition: Definition) -> ClassReading:
        place = Place(definition.source.path, definition.node.lineno)
        outcomes: list[LoweredModel | NotChecked] = []
        parts, children = frozenset[Hashable](), frozenset[Hashable]()
        for build in (Builder.build, Builder.build_switched_on):
            builder = Builder(self.project, self._constructors)
            work = partial(build, builder, definition)
            built = [*filter(None, self._attempts.attempt(definition.name, place.path, place.line, work))]
            outcomes += self._attempts.take()
            outcomes += [self._lower(each, builder.entered) for each in built]
            parts |= _parts(builder.created)
            children |= _parts(built)
        return ClassReading(definition.name, place, tuple(outcomes), parts, children)

    def _lower(self, model: Module, build_functions: set[int]) -> LoweredModel | NotChecked:
        """The model with its graph; without, where this analysis has lowered a model like it."""
        place = model.place or Place("", 1)
        attempt = partial(self._attempts.attempt, name_of(model), place.path, place.line)
        for like in [*attempt(partial(likeness, model))]:
            if like in self._lowered:
                return LoweredModel(like, identity(model))
            self._lowered.add(like)
            lower = partial(graph_of, self.project, model, name_of(model), build_functions, self._forwards)
            for graph in [*attempt(lower)]:
                definition = model.definition if graph is not None and isinstance(model, Instance) else None
                scores = isinstance(definition, Definition) and scores_itself(definition)
                return LoweredModel(like, identity(model), graph, scores)
            return LoweredModel(like, identity(model), not_followed=self._attempts.take()[0])
        return self._attempts.take()[0]


class _Attempts:
    """Runs pieces of work within each file's limit of CPU time, and lists those that fail."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._failed: list[NotChecked] = []
        self._seconds: dict[str, float] = {}

    def take(self) -> tuple[NotChecked, ...]:
        """The pieces that failed since the last call."""
        failed = tuple(self._failed)
        self._failed.clear()
        return failed

    def attempt(self, subject: str, path: str, line: int, work: Callable[[], Result]) -> Iterator[Result]:
        """The result of the work, if it succeeds."""
        began = process_time()
        self.project.deadline = began + SECONDS - self._seconds.get(path, 0.0)
        reason: str | None = None
        advice = ""
        try:
            yield work()
        except RecursionError:
            reason = "too deeply nested to follow from the source"
        except CannotTrace as error:
            reason = str(error)
        except Exception as error:
            reason = f"the source could not be followed: {type(error).__name__}: {error}"
            advice = "report this as a bug of regcheck"
        finally:
            self._seconds[path] = self._seconds.get(path, 0.0) + process_time() - began
        if reason is not None:
            self._failed.append(NotChecked(subject, reason, advice, path, line))


def _parts(models: Iterable[Module]) -> frozenset[Hashable]:
    """The identities of the modules that run in the `forward` of models."""
    return frozenset([identity(each) for owner in models for each in parts_of(owner)])
