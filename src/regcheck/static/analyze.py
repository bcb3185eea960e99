"""Everything that a project's source says: the graphs of its models and the usages of its programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from .models.constructors import Builder, ConstructorCache
from .models.forward_cache import ForwardCache
from .models.inspection import identity, likeness, name_of
from .models.lowering import graph_of
from .programs.mode_restoration import Restoring
from .project.names import Project

Result = TypeVar("Result")


@dataclass(frozen=True)
class UsedModel:
    """A model that a program builds: the index of its graph, if one was kept, and the file and the name of its class.

    Both are empty for a model of one of torch's own classes.
    """

    graph: int | None
    path: str = ""
    name: str = ""


@dataclass(frozen=True)
class Reading:
    """What was lowered, and what could not be.

    `classes` are the places of the model classes by name. `models` describes each model that a usage knows, by its key.
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


def lowered(project: Project) -> Reading:
    """Lower every program of a project, and every model: each class on its own, and each model that a program builds.

    A piece that cannot be followed is noted, and the others are read. Graphs in which no rule can start are left out.
    """
    missed: list[NotChecked] = []

    spent: dict[str, float] = {}

    def attempt(subject: str, path: str, line: int, work: Callable[[], Result]) -> Iterator[Result]:
        began = process_time()
        project.deadline = began + SECONDS - spent.get(path, 0.0)
        try:
            yield work()
        except RecursionError:
            missed.append(NotChecked(subject, "too deeply nested to follow from the source", "", path, line))
        except CannotTrace as error:
            missed.append(NotChecked(subject, str(error), "", path, line))
        except Exception as error:
            reason = f"the source could not be followed: {type(error).__name__}: {error}"
            missed.append(NotChecked(subject, reason, "report this as a bug of regcheck", path, line))
        finally:
            spent[path] = spent.get(path, 0.0) + process_time() - began

    program = Restoring(project)
    usages: list[Usage] = []
    for source in project.relevant:
        usages += attempt(source.module, source.path, 1, partial(program.top_of, source))
    for function in program.uncalled():
        line = function.node.lineno
        usages += attempt(function.name, function.source.path, line, partial(program.call_of, function))
    classes: list[tuple[str, Place]] = []
    parts = {*_parts(program.models)}
    graphs: list[tuple[object, Graph]] = []
    by_likeness: dict[object, int | None] = {}
    models: dict[str, UsedModel] = {}
    memory, repeats = ConstructorCache(), ForwardCache()

    def follow(model: Module, entered: set[int]) -> None:
        def work() -> None:
            like = likeness(model)
            if like not in by_likeness:
                by_likeness[like] = None
                graph = graph_of(project, model, name_of(model), entered, repeats)
                if graph is not None:
                    by_likeness[like] = len(graphs)
                    graphs.append((identity(model), graph))
            where = (model.definition.source.path, model.definition.name) if isinstance(model, Instance) else ()
            models[str(id(model))] = UsedModel(by_likeness[like], *where)

        place = model.place or Place("", 1)
        for _ in attempt(name_of(model), place.path, place.line, work):
            pass

    for model in program.models:
        follow(model, program.ran)
    for definition in project.definitions:
        if definition.is_module:
            classes.append((definition.name, Place(definition.source.path, definition.node.lineno)))
            where = definition.name, definition.source.path, definition.node.lineno
            for make in (Builder.built, Builder.switched_on):
                builder = Builder(project, memory)
                built: list[Instance | None] = [*attempt(*where, partial(make, builder, definition))]
                for each in filter(None, built):
                    follow(each, builder.ran)
                parts.update(_parts(builder.made))
    whole = program.whole - parts - program.feeding
    rooted = tuple(replace(each, wholeness=Wholeness.WHOLE) if known in whole else each for known, each in graphs)
    return Reading(rooted, tuple(usages), tuple(missed), tuple(classes), models)


def _parts(models: list[Module]) -> Iterator[object]:
    """What is registered in a model as a part of it."""
    for owner in models:
        if owner.is_module:
            yield from (identity(each) for _, each in owner.children())
