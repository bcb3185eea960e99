"""What the check of each model structure showed, which is made once, and what is declared around the calls of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping
from typing import TYPE_CHECKING

from regcheck.core.finding import Evidence, Finding, Key, NotChecked, Verdict
from regcheck.core.ignores import Declared
from regcheck.core.report import Report

if TYPE_CHECKING:
    from regcheck.watcher.sessions import Seen

Around = Mapping[str, tuple[Declared, ...]]
"""The structures that a program ran, each with what the blocks declare that stood around all of its calls."""


class Structures:
    """What the check of each structure showed. It is checked once, and shown by everything that runs it."""

    def __init__(self) -> None:
        self._found: dict[str, dict[Key, Report]] = {}
        self._unclear: set[str] = set()

    def remember(self, report: Report, seen: Seen) -> None:
        """Keep what the structures that were just checked showed."""
        for finding in (*report.findings, *report.advice):
            for origin in report.origins_of(finding):
                if origin.structure:
                    shown = {"advice" if finding in report.advice else "findings": (finding,)}
                    alone = Report(**shown, subjects=(origin.subject,), structure=origin.structure)
                    self._found.setdefault(origin.structure, {})[finding.key] = alone
        if report.not_checked:
            self._unclear |= {each.model_key for each in seen.captures}

    def shown_again(self, structures: Collection[str]) -> Iterator[Report]:
        """A report for each thing that one of these structures showed, now or earlier."""
        for structure in sorted(self._found.keys() & structures):
            yield from self._found[structure].values()

    def unclear(self, structures: Collection[str]) -> bool:
        """Whether the check of one of these structures left something open."""
        return not self._unclear.isdisjoint(structures)


At = tuple[str, str | None, int | None]
"""A rule's code, and the path and the line of what it finds."""

TRIES = 3
"""So many models are measured for a finding in one line that cannot be measured: each may take all of its seconds."""


class Settled:
    """The findings in lines that one more model, which runs the same line, need not be measured for."""

    def __init__(self) -> None:
        self._proven: set[At] = set()
        self._tried: Counter[At] = Counter()

    def note(self, at: At, evidence: Evidence, proven: bool) -> None:
        """A finding was measured. What is `proven` was shown to somebody, as bad as the rule takes it to be."""
        if proven and evidence.verdict is Verdict.CONFIRMED and evidence.lowers_to is None:
            self._proven.add(at)
        self._tried[at] += evidence.verdict is Verdict.UNMEASURED

    def why(self, at: At) -> str:
        """Why it is not measured; empty where it is to be."""
        if at in self._proven:
            return "it is confirmed in another model"
        return f"it could not be measured in {TRIES} other models" if self._tried[at] >= TRIES else ""


def never_returned(raised: Mapping[str, str], examined: Container[str]) -> Iterator[NotChecked]:
    """The structures that a program ran and of which nothing is known: no call that was looked at came to its end."""
    for structure, name in raised.items():
        if structure not in examined:
            yield NotChecked(name, "its calls raised", "run it on inputs that it accepts")


def declared_around(finding: Finding, report: Report, around: Around) -> tuple[Declared, ...]:
    """What is declared around every call of each structure that showed a finding of a report."""
    declared = [around.get(each.structure, ()) for each in report.origins_of(finding)]
    return tuple(each for each in (declared or [()])[0] if all(each in other for other in declared))
