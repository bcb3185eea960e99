"""The readings of a file as JSON and back.

Paths are numbers of files, and positions numbers in a table of the record: most occur many times.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from regcheck.core.finding import Finding, FindingsByRule, NotChecked, RuleFindings
from regcheck.files.place import Place

from .project.outlines import FileOutline, FunctionOutline
from .reading import (
    IN_SOURCE,
    ClassReading,
    Dependencies,
    FilePrograms,
    FileReading,
    LoweredModel,
    ProgramReading,
    Training,
)

_IS_PLACE = 1
"""Marks the position of an expression, which is a `Place`, in the table; that of a definition is a tuple."""


class FileRecord(NamedTuple):
    """What the cache says of a file. Rules have checked its graphs and usages."""

    outline: FileOutline | None
    classes: FileReading | None
    programs: FilePrograms | None


class Encoder:
    """Makes a record; `numbers` are those of the files, by path."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self._table: dict[Hashable, int] = {}

    def record(self, record: FileRecord) -> list[Any]:
        """The record as JSON has it."""
        parts = [
            record.outline and self._outline(record.outline),
            record.classes and self._classes(record.classes),
            record.programs and self._programs(record.programs),
        ]
        return [*parts, [*map(self._row, self._table)]]

    def _path(self, path: str) -> int | str:
        return self._numbers.get(path, path)

    def _paths(self, paths: Iterable[str]) -> list[int | str]:
        return [self._path(each) for each in sorted(paths)]

    def _row(self, position: Any) -> list[Any] | None:
        if position is None:
            return None
        if isinstance(position, Place):
            return [self._path(position.path), position.line, position.column, _IS_PLACE]
        path, line, column = position
        return [self._path(path), line, column]

    def _position(self, position: Hashable) -> int:
        return self._table.setdefault(position, len(self._table))

    def _positions(self, positions: Iterable[Hashable]) -> list[int]:
        return sorted(map(self._position, positions))

    def _unread(self, unread: Iterable[tuple[str, NotChecked]]) -> list[Any]:
        return [[path, each.to_dict()] for path, each in unread]

    def _outline(self, outline: FileOutline) -> list[Any]:
        return [outline.functions, outline.models, self._paths(outline.reached), self._unread(outline.unread.items())]

    def _dependencies(self, on: Dependencies) -> list[Any]:
        paths = self._paths(on.reached), self._paths(on.relevant)
        return [*paths, sorted(on.configured), sorted(on.mentioned), self._unread(on.unread.items())]

    def _classes(self, reading: FileReading) -> list[Any]:
        return [[self._class(each) for each in reading.classes], self._dependencies(reading.dependencies)]

    def _class(self, reading: ClassReading) -> list[Any]:
        outcomes = [self._outcome(each) for each in reading.outcomes]
        positions = self._positions(reading.parts), self._positions(reading.children)
        return [reading.name, self._position(reading.place), outcomes, *positions]

    def _outcome(self, outcome: LoweredModel | NotChecked) -> list[Any] | dict[str, Any]:
        if isinstance(outcome, NotChecked):
            return outcome.to_dict()
        findings = {wholeness.value: _findings(each) for wholeness, each in outcome.findings.items()}
        missed = outcome.not_followed and outcome.not_followed.to_dict()
        identity = self._position(outcome.identity)
        return [outcome.likeness, identity, outcome.scores_itself, missed, outcome.is_lowered, findings]

    def _programs(self, reading: FilePrograms) -> list[Any]:
        trainings = reading.trainings and [
            [each.name, self._position(each.place), self._position(each.step)] for each in reading.trainings
        ]
        others = [[self._position(position), self._program(each)] for position, each in reading.others.items()]
        return [self._program(reading.top), trainings, others, self._dependencies(reading.dependencies)]

    def _program(self, reading: ProgramReading) -> list[Any]:
        """A program, without the models that its usages call: rules have checked these."""
        return [
            [self._outcome(each) for each in reading.models],
            [each.to_dict() for each in reading.not_checked],
            *(self._positions(each) for each in (reading.scored, reading.parts, reading.features, reading.entered)),
            [_findings(each) for each in reading.findings],
        ]


def _findings(by_rule: FindingsByRule) -> dict[str, Any]:
    return {
        code: [[one.to_dict() for one in some] for some in (each.findings, each.undecided)]
        for code, each in by_rule.items()
    }


class Decoder:
    """Reads the record of a file with a path; `paths` are those of all files."""

    def __init__(self, path: str, paths: Sequence[str]) -> None:
        self._path = path
        self._paths = paths
        self._table: list[Any] = []

    def record(self, document: list[Any]) -> FileRecord:
        """The record.

        Raises:
            ValueError, TypeError, LookupError, AttributeError: the document is none.
        """
        outline, classes, programs, table = document
        self._table = [*map(self._row, table)]
        return FileRecord(
            outline and self._outline(*outline),
            classes and self._classes(*classes),
            programs and self._programs(*programs),
        )

    def _name(self, path: int | str) -> str:
        return path if isinstance(path, str) else self._paths[path]

    def _names(self, paths: Iterable[int | str]) -> frozenset[str]:
        return frozenset([self._name(each) for each in paths])

    def _row(self, row: list[Any] | None) -> Hashable:
        if row is None:
            return None
        path, line, column, *is_place = row
        return Place(self._name(path), line, column) if is_place else (self._name(path), line, column)

    def _positions(self, numbers: Iterable[int]) -> frozenset[Any]:
        return frozenset(map(self._table.__getitem__, numbers))

    def _outline(self, functions: list[Any], models: list[str], reached: list[Any], unread: list[Any]) -> FileOutline:
        rows = tuple(map(FunctionOutline._make, functions))
        return FileOutline(self._path, rows, tuple(models), self._names(reached), _unread(unread))

    def _dependencies(
        self, reached: list[Any], relevant: list[Any], configured: list[str], mentioned: list[str], unread: list[Any]
    ) -> Dependencies:
        names = self._names(reached), self._names(relevant)
        return Dependencies(*names, frozenset(configured), frozenset(mentioned), _unread(unread))

    def _classes(self, classes: list[Any], dependencies: list[Any]) -> FileReading:
        return FileReading(
            self._path, tuple([self._class(*each) for each in classes]), self._dependencies(*dependencies)
        )

    def _class(self, name: str, place: int, outcomes: list[Any], parts: list[int], children: list[int]) -> ClassReading:
        outcomes_read = tuple([self._outcome(each) for each in outcomes])
        return ClassReading(name, self._table[place], outcomes_read, self._positions(parts), self._positions(children))

    def _outcome(self, outcome: Any) -> LoweredModel | NotChecked:
        return NotChecked(**outcome) if isinstance(outcome, dict) else self._model(*outcome)

    def _model(
        self, likeness: str, identity: int, scores: bool, missed: Any, is_lowered: bool, findings: dict[str, Any]
    ) -> LoweredModel:
        findings_read = {each: _by_rule(findings[each.value]) for each in IN_SOURCE} if findings else {}
        reason = NotChecked(**missed) if missed else None
        return LoweredModel(likeness, self._table[identity], None, scores, reason, is_lowered, findings_read)

    def _programs(
        self, top: list[Any], trainings: list[Any] | None, others: list[Any], dependencies: list[Any]
    ) -> FilePrograms:
        return FilePrograms(
            self._path,
            self._program(*top),
            None if trainings is None else tuple([self._training(*each) for each in trainings]),
            {self._table[position]: self._program(*each) for position, each in others},
            self._dependencies(*dependencies),
        )

    def _training(self, name: str, place: int, step: int) -> Training:
        return Training(name, self._table[place], self._table[step])

    def _program(
        self,
        models: list[Any],
        not_checked: list[Any],
        scored: list[int],
        parts: list[int],
        features: list[int],
        entered: list[int],
        findings: list[Any],
    ) -> ProgramReading:
        lowered = [self._outcome(each) for each in models]
        return ProgramReading(
            self._path,
            (),
            tuple([each for each in lowered if isinstance(each, LoweredModel)]),
            tuple([NotChecked(**each) for each in not_checked]),
            {},
            self._positions(scored),
            self._positions(parts),
            self._positions(features),
            self._positions(entered),
            tuple(map(_by_rule, findings)),
        )


def _unread(unread: list[Any]) -> dict[str, NotChecked]:
    return {path: NotChecked(**each) for path, each in unread}


def _by_rule(findings: dict[str, Any]) -> FindingsByRule:
    return {
        code: RuleFindings(*(tuple(map(Finding.from_dict, each)) for each in some)) for code, some in findings.items()
    }
