"""Everything that a project's source says: the graphs of its models and the usages of its programs."""

from __future__ import annotations

from dataclasses import dataclass

from regcheck.core.finding import NotChecked
from regcheck.core.graph import Graph
from regcheck.core.usage import Usage

from .build import Builder
from .flow import Program
from .lower import lowered as model_lowered
from .models import identity, name_of
from .names import Project
from .relevance import worthwhile
from .values import Container, Instance, Module


@dataclass(frozen=True)
class Reading:
    """What was lowered, and what could not be."""

    graphs: tuple[Graph, ...] = ()
    usages: tuple[Usage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


def lowered(project: Project) -> Reading:
    """Lower every model class and every program of the project."""
    program = Program(project)
    usages = [program.top_of(source) for source in project.sources]
    for function in worthwhile(project):
        if id(function.node) not in program.ran:
            usages.append(program.call_of(function))
    not_checked: list[NotChecked] = []
    models: list[tuple[Module, set[int]]] = []
    made: list[Module] = [*program.made]
    for definition in project.definitions():
        if definition.is_module:
            builder = Builder(project)
            try:
                models.append((builder.built(definition), builder.ran))
            except RecursionError:
                path, line = definition.source.path, definition.node.lineno
                not_checked.append(NotChecked(definition.name, "too deeply nested to follow", "", path, line))
            made += builder.made
    parts = {identity(each) for owner in made for _, each in owner.children() if _is_module(owner)}
    used = [each for each in program.made if _is_module(each) and id(each) not in program.parts]
    models += [(each, program.ran) for each in used if isinstance(each, (Container, Instance))]
    graphs = []
    for model, ran in models:
        who = identity(model)
        root = True if who in program.whole and who not in parts and who not in program.feeding else None
        graph = model_lowered(project, model, name_of(model), ran, root)
        if graph is not None:
            graphs.append(graph)
    return Reading(tuple(graphs), tuple(usages), tuple(not_checked))


def _is_module(value: Module) -> bool:
    return not isinstance(value, Instance) or value.definition.is_module


