"""The lines that fixes change, where a second run measures again what the first run measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from regcheck.core.finding import Finding, Suspicion
from regcheck.core.graph import Graph, Op
from regcheck.core.patch import Edit
from regcheck.core.rule import Rule
from regcheck.core.starting_points import StartingPoints
from regcheck.core.usage import Called, Event, Stepped, Usage
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True)
class FixedLine:
    """A finding that a fix removes: its rule, the absolute path, its line in the changed file, and what it said."""

    code: str
    path: str
    line: int
    message: str
    advice: str

    @classmethod
    def of(cls, finding: Finding, edits: Iterable[Edit]) -> FixedLine | None:
        """The line of a finding after edits of its file; None where it has no line, or one in a cell of a notebook."""
        if finding.path is None or finding.line is None or finding.cell is not None:
            return None
        at = finding.line, finding.column or 1
        before = (each for each in dict.fromkeys(edits) if (each.end_line, each.end_column) <= at)
        line = finding.line + sum(each.text.count("\n") - (each.end_line - each.line) for each in before)
        return cls(finding.code, os.path.abspath(finding.path), line, finding.message, finding.fix)

    def has(self, place: Place | None) -> bool:
        """Whether a place is in this line."""
        return place is not None and (os.path.abspath(place.path), place.line) == (self.path, self.line)

    def is_of(self, finding: Finding) -> bool:
        """Whether a finding is the same rule's in this line."""
        at = Place(finding.path, finding.line) if finding.path and finding.line else None
        return finding.code == self.code and self.has(at)


FIXED: ContextVar[tuple[FixedLine, ...]] = ContextVar("fixed", default=())


@contextmanager
def measuring_again(lines: Sequence[FixedLine]) -> Iterator[None]:
    """In the block, checks also measure in these lines, where the rules no longer suspect anything."""
    token = FIXED.set(tuple(lines))
    try:
        yield
    finally:
        FIXED.reset(token)


def suspicions_again(rule: Rule, value: Graph | Usage) -> Iterator[list[Suspicion]]:
    """For each fixed line of a rule, the suspicions that its ops and events would be without the fix."""
    for line in FIXED.get():
        if line.code == rule.code:
            suspicions = [
                Suspicion(each, line.message, line.advice) for each in _measurable(rule, value) if line.has(each.place)
            ]
            ops = tuple(each.at for each in suspicions if isinstance(each.at, Op))
            yield [replace(each, ops=ops) for each in suspicions]


def _measurable(rule: Rule, value: Graph | Usage) -> Iterator[Op | Event]:
    """The ops that a rule starts from in train mode, or the events that a probe can measure."""
    if isinstance(value, Graph):
        starts = StartingPoints.of([rule.begins_at])
        yield from (op for op in value.train if starts.has(op))
    else:
        yield from (each for each in value.events if isinstance(each, (Called, Stepped)))
