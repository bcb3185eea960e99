"""Reads the source of a project: the graphs of its models, and the events of its programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
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
from .programs.program import ProgramReader
from .project.names import Project

Result = TypeVar("Result")


@dataclass(frozen=True)
class Reading:
    """The graphs and usages of a project, and what could not be followed; `classes` are its model classes."""

    graphs: tuple[Graph, ...] = ()
    usages: tuple[Usage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    classes: tuple[tuple[str, Place], ...] = ()


def lowered(project: Project, whatever: bool = True) -> Reading:
    """Reads every program of a project, each of its model classes, and each model that a program constructs.

    A piece that cannot be followed is listed as not checked. Without `whatever`, graphs in which no rule of regcheck's
    own can find anything are left out.
    """
    attempts = _Attempts(project)
    program = ProgramReader(project)
    usages: list[Usage] = []
    for source in project.relevant:
        usages += attempts.attempt(source.module, source.path, 1, partial(program.top_of, source))
    for function in program.uncalled():
        where = function.name, function.source.path, function.node.lineno
        usages += attempts.attempt(*where, partial(program.call_of, function))

    constructors, forwards = ConstructorCache(), ForwardCache()
    graphs: list[tuple[object, Graph]] = []
    likenesses: set[object] = set()

    def lower(model: Module, build_functions: set[int]) -> None:
        name, place = name_of(model), model.place or Place("", 1)

        def graph() -> Graph | None:
            like = likeness(model)
            if like in likenesses:
                return None
            likenesses.add(like)
            return graph_of(project, model, name, build_functions, forwards, whatever)

        results = attempts.attempt(name, place.path, place.line, graph)
        graphs.extend([(identity(model), each) for each in results if each is not None])

    parts = _parts(program.models)
    for model in program.models:
        lower(model, program.entered)
    classes: list[tuple[str, Place]] = []
    for definition in project.definitions:
        if not definition.is_module:
            continue
        place = Place(definition.source.path, definition.node.lineno)
        classes.append((definition.name, place))
        for build in (Builder.built, Builder.switched_on):
            builder = Builder(project, constructors)
            built: list[Instance | None] = [
                *attempts.attempt(definition.name, place.path, place.line, partial(build, builder, definition))
            ]
            for each in filter(None, built):
                lower(each, builder.entered)
            parts |= _parts(builder.created)
    whole = program.whole - parts
    marked = [replace(each, wholeness=Wholeness.WHOLE) if known in whole else each for known, each in graphs]
    return Reading(tuple(marked), tuple(usages), tuple(attempts.not_checked), tuple(classes))


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
    """The identities of the modules that are registered in models."""
    return {identity(each) for owner in models if owner.is_module for _, each in owner.children()}
