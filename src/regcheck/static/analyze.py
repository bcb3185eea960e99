"""Reads the source of a project: the graphs of its models, and the events of its programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import process_time
from typing import TypeVar

from regcheck.core.errors import CannotTrace
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Graph, Wholeness
from regcheck.core.usage import Usage
from regcheck.files.place import Place

from .interpreter.state import SECONDS
from .interpreter.values import Instance, Module
from .keras_models.reader import read_keras
from .models.constructors import Builder, ConstructorCache
from .models.forward_cache import ForwardCache
from .models.inspection import identity, likeness, name_of, parts_of
from .models.lowering import graph_of
from .models.scoring_methods import scores_itself
from .programs.reader import ProgramReader
from .project.names import Definition, Project

Result = TypeVar("Result")


@dataclass(frozen=True)
class UsedModel:
    """A model that a program constructs: the index of its graph, if one was kept, and the file and name of its class.

    Both are empty for a model of one of torch's own classes.
    """

    graph: int | None
    path: str = ""
    name: str = ""


@dataclass(frozen=True)
class Reading:
    """The graphs and usages of a project, and what could not be followed.

    `classes` are the places of the model classes by name, `models` the models that usages refer to by their keys.
    """

    graphs: tuple[Graph, ...] = ()
    usages: tuple[Usage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    classes: tuple[tuple[str, Place], ...] = ()
    models: Mapping[str, UsedModel] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[Graph, Usage]]:
        """Each usage with the graph of each model that it calls."""
        for usage in self.usages:
            for key in dict.fromkeys(call.model.key for _, call in usage.calls()):
                model = self.models.get(key)
                if model is not None and model.graph is not None:
                    yield replace(self.graphs[model.graph], model=key), usage


def analyze(project: Project) -> Reading:
    """Reads every program of a project, each of its model classes, and each model that a program constructs.

    A piece that cannot be followed is listed as not checked. Graphs in which no rule can start are left out.
    """
    attempts = _Attempts(project)
    program = ProgramReader(project)
    usages: list[Usage] = []
    for source in project.relevant:
        usages += attempts.attempt(source.module, source.path, 1, partial(program.top_of, source))
    for definition in program.trainings():
        where = definition.name, definition.source.path, definition.node.lineno
        usages += attempts.attempt(*where, partial(program.training_of, definition))
    for function in program.uncalled():
        where = function.name, function.source.path, function.node.lineno
        usages += attempts.attempt(*where, partial(program.call_of, function))

    models = _Models(project)
    parts, children = _parts(program.models), set[object]()
    for model in program.models:
        models.lower(model, program.entered, attempts)
    constructors = ConstructorCache()
    classes: list[tuple[str, Place]] = []
    for definition in project.definitions:
        if not (definition.source.analyzed and definition.is_module):
            continue
        place = Place(definition.source.path, definition.node.lineno)
        classes.append((definition.name, place))
        for build in (Builder.build, Builder.build_switched_on):
            builder = Builder(project, constructors)
            built: list[Instance | None] = [
                *attempts.attempt(definition.name, place.path, place.line, partial(build, builder, definition))
            ]
            for each in filter(None, built):
                models.lower(each, builder.entered, attempts)
            parts |= _parts(builder.created)
            children |= _parts(filter(None, built))
    graphs = models.graphs(program.scored - parts - program.features, parts | program.features | children)
    keras = read_keras(project, attempts.attempt)
    not_checked = (*attempts.not_checked, *keras.not_checked)
    return Reading((*graphs, *keras.graphs), (*usages, *keras.usages), not_checked, tuple(classes), models.by_key)


class _Models:
    """The graphs of models, one for all models that are alike; `by_key` as in `Reading.models`."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.by_key: dict[str, UsedModel] = {}
        self._cache = ForwardCache()
        self._graphs: list[tuple[object, Graph]] = []
        self._by_likeness: dict[object, int | None] = {}

    def lower(self, model: Module, build_functions: set[int], attempts: _Attempts) -> None:
        place = model.place or Place("", 1)
        work = partial(self._lower, model, build_functions)
        for index in attempts.attempt(name_of(model), place.path, place.line, work):
            of_class = (model.definition.source.path, model.definition.name) if isinstance(model, Instance) else ()
            self.by_key[str(id(model))] = UsedModel(index, *of_class)

    def _lower(self, model: Module, build_functions: set[int]) -> int | None:
        """The index of the model's graph; None if it has none."""
        like = likeness(model)
        if like not in self._by_likeness:
            self._by_likeness[like] = None
            graph = graph_of(self.project, model, name_of(model), build_functions, self._cache)
            if graph is not None:
                self._by_likeness[like] = len(self._graphs)
                self._graphs.append((identity(model), graph))
        return self._by_likeness[like]

    def graphs(self, scored: set[object], parts: set[object]) -> tuple[Graph, ...]:
        """All graphs, marked as those of whole models or of parts by the models' identities."""

        def wholeness(known: object) -> Wholeness:
            if known in scored:
                return Wholeness.SCORED
            if known in parts:
                return Wholeness.UNKNOWN
            return Wholeness.SCORED if isinstance(known, Definition) and scores_itself(known) else Wholeness.ALONE

        return tuple([replace(each, wholeness=wholeness(known)) for known, each in self._graphs])


class _Attempts:
    """Runs pieces of work within each file's limit of CPU time, and lists those that fail."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.not_checked: list[NotChecked] = []
        self._seconds: dict[str, float] = {}

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
            self.not_checked.append(NotChecked(subject, reason, advice, path, line))


def _parts(models: Iterable[Module]) -> set[object]:
    """The identities of the modules that run in the `forward` of models."""
    return {identity(each) for owner in models for each in parts_of(owner)}
