"""Reads the source of a project: the graphs of its models, and the events of its programs."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterator
from dataclasses import replace
from functools import partial

from regcheck.core.finding import NotChecked
from regcheck.core.progress import steps
from regcheck.files.place import Place

from .attempts import Attempts
from .keras_models.keras_files import sources_of
from .lowered_models import ModelLowering, identities_of_parts
from .models.constructors import Builder, ConstructorCache
from .program_files import read_programs
from .project.files import Source
from .project.names import Definition, Project
from .reading import (
    ClassReading,
    Dependencies,
    EarlierReadings,
    FileReading,
    KerasReading,
    LoweredModel,
    Reading,
    ReadingParts,
)

_MOST_YOUNG = 8_000_000
"""The most new objects while collection is paused: the interpreters of a file's models are cycles."""


def analyze(project: Project) -> Reading:
    """Reads every program of a project, each of its model classes, and each model that a program constructs.

    A piece that cannot be followed is listed as not checked. Graphs in which no rule can start are left out.
    """
    return Reading.of(read_parts(project))


def read_parts(project: Project, earlier: EarlierReadings | None = None) -> ReadingParts:
    """The parts of an analysis. What is `earlier` from an earlier one is copied.

    Without it, models like those that programs construct are not lowered again, and the next analysis cannot copy.
    """
    programs = read_programs(project, earlier or EarlierReadings())
    constructed = (each.likeness for program in programs.programs for each in program.models)
    like_programs = frozenset[str]() if earlier is not None else frozenset(constructed)
    classes = earlier.classes if earlier is not None else {}
    to_read = steps(files_with_classes(project), lambda each: f"reading the models of {each.path}")
    files = tuple([classes.get(each.path) or read_classes(project, each, like_programs) for each in to_read])
    parts = ReadingParts(programs, files, read_keras_models(project))
    note_unread(project, parts)
    return parts


def note_unread(project: Project, parts: ReadingParts) -> None:
    """Notes which files could not be parsed, according to readings that this process has not made."""
    programs = parts.programs
    unread: dict[str, NotChecked] = {}
    for each in (*(file.dependencies.unread for file in programs.files), *(file.unread for file in programs.outlines)):
        unread.update(each)
    for file in parts.files:
        unread.update(file.dependencies.unread)
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
    classes = tuple(ClassReader(alone, lowered).of(source))
    if gc.get_count()[0] > _MOST_YOUNG:
        gc.collect(0)
    return FileReading(source.path, classes, Dependencies.of(alone, source))


def read_keras_models(project: Project) -> KerasReading:
    """Reads the models of Keras."""
    sources = sources_of(project)
    if not sources:
        return KerasReading()
    from .keras_models.reader import read_keras

    attempts = Attempts(project)
    keras = read_keras(project, sources, attempts.attempt)
    return replace(keras, not_checked=(*attempts.take(), *keras.not_checked))


class ClassReader:
    """Builds and lowers model classes. Models with a likeness in `lowered` are not lowered, and others once."""

    def __init__(self, project: Project, lowered: frozenset[str]) -> None:
        self.project = project
        self._attempts = Attempts(project)
        self._constructors = ConstructorCache()
        self._lowering = ModelLowering(project, self._attempts, {*lowered})

    def of(self, source: Source) -> Iterator[ClassReading]:
        """Each model class of a file."""
        for definition in self.project.definitions_in(source):
            if definition.is_module:
                yield self._class(definition)

    def _class(self, definition: Definition) -> ClassReading:
        place = Place(definition.source.path, definition.node.lineno)
        outcomes: list[LoweredModel | NotChecked] = []
        parts, children = frozenset[Hashable](), frozenset[Hashable]()
        for build in (Builder.build, Builder.build_switched_on):
            builder = Builder(self.project, self._constructors)
            work = partial(build, builder, definition)
            built = [*filter(None, self._attempts.attempt(definition.name, place.path, place.line, work))]
            outcomes += self._attempts.take()
            outcomes += [self._lowering.lower(each, builder.entered) for each in built]
            parts |= identities_of_parts(builder.created)
            children |= identities_of_parts(built)
        return ClassReading(definition.name, place, tuple(outcomes), parts, children)
