"""Everything that a project's source says: the graphs of its models and the usages of its programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from regcheck.core.finding import NotChecked
from regcheck.core.graph import Graph
from regcheck.core.usage import Usage

from .build import Builder
from .flow import Program
from .lower import graph_of
from .models import identity, name_of
from .names import Project
from .values import Module, descendants


@dataclass(frozen=True)
class Reading:
    """What was lowered, and what could not be."""

    graphs: tuple[Graph, ...] = ()
    usages: tuple[Usage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


@dataclass(frozen=True)
class Built:
    """A model as some code builds it, and the functions that were entered to build it."""

    model: Module
    entered: set[int]


def lowered(project: Project) -> Reading:
    """Lower every program of the project, and every model: each class on its own, and each model a program builds."""
    program = Program(project)
    usages = tuple(program.programs())
    built: list[Built] = []
    parts: set[object] = set()
    not_checked: list[NotChecked] = []
    for definition in project.definitions():
        if definition.is_module:
            builder = Builder(project)
            try:
                built.append(Built(builder.built(definition), builder.ran))
            except RecursionError:
                path, line = definition.source.path, definition.node.lineno
                not_checked.append(NotChecked(definition.name, "too deeply nested to follow", "", path, line))
            parts.update(_parts(builder.made))
    for each in program.models:
        for _, module in descendants(each):
            module.cells.pop("training", None)
        built.append(Built(each, program.ran))
    parts.update(_parts(program.models))
    whole = program.whole - parts - program.feeding
    graphs = []
    for model in built:
        who = identity(model.model)
        root = True if who in whole else None
        graph = graph_of(project, model.model, name_of(model.model), model.entered, root)
        if graph is not None:
            graphs.append(graph)
    return Reading(tuple(graphs), usages, tuple(not_checked))


def _parts(models: list[Module]) -> Iterator[object]:
    """What is registered in a model as a part of it."""
    for owner in models:
        if owner.is_module:
            yield from (identity(each) for _, each in owner.children())
