"""What is known of the models that ran so far, and what is declared around the calls of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from regcheck.core.finding import Finding, Key, Severity, Verdict
from regcheck.core.graph import Graph, Wholeness
from regcheck.core.inspections import MEASURED, UNPROVEN, Inspection, best
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression

Around = Mapping[str, tuple[CodeSuppression, ...]]
"""The structures that a program ran, each with what the blocks declare that stood around all of its calls."""

At = tuple[str, str | None, int | None]
"""A rule's code, and the path and the line of what it finds."""

LOOKS = 5
"""So many calls of one structure are looked at where each look leaves something open."""


class VerdictStore:
    """What a session knows: how each structure was looked at and what that showed, and what is confirmed where.

    A structure is looked at until a look leaves nothing open, and what it showed is shown by everything that runs it.
    What a rule has confirmed in a line is not measured there again.
    """

    def __init__(self) -> None:
        self._looks: dict[str, Inspection] = {}
        self._turns: Counter[tuple[str, Wholeness]] = Counter()
        self._done: set[tuple[str, Wholeness]] = set()
        self._found: dict[str, dict[Key, Report]] = {}
        self._confirmed: dict[At, Severity] = {}
        self.graphs: dict[str, Graph] = {}
        """The graph of each structure, where a rule reads it together with its use."""

    def is_due(self, structure: str, wholeness: Wholeness = Wholeness.UNKNOWN) -> bool:
        """Whether another call of a structure is to be looked at."""
        return (structure, wholeness) not in self._done and self._turns[structure, wholeness] < LOOKS

    def looked(self, structure: str, wholeness: Wholeness, report: Report, replayed: int) -> Inspection:
        """Note what a look at a structure showed, and how the call it looked at was `replayed`."""
        ended = replayed
        if ended == MEASURED and any(self._is_open(each) for each in report.findings):
            ended = UNPROVEN
        look = Inspection(ended, report.not_checked)
        self._turns[structure, wholeness] += 1
        if look.done:
            self._done |= {(structure, wholeness), (structure, Wholeness.UNKNOWN)}
        self._looks = best([self._looks, {structure: look}])
        return look

    def _is_open(self, finding: Finding) -> bool:
        if finding.evidence.verdict is not Verdict.UNMEASURED:
            return False
        return not self.settled((finding.code, _absolute(finding.path), finding.line), finding.severity)

    def remember(self, report: Report) -> None:
        """Keep what each structure showed."""
        for finding in (*report.findings, *report.advice):
            shown = finding in report.findings
            for origin in report.origins_of(finding):
                if origin.structure:
                    alone = Report(subjects=(origin.subject,), structure=origin.structure)
                    alone = replace(alone, findings=(finding,)) if shown else replace(alone, advice=(finding,))
                    self._found.setdefault(origin.structure, {})[finding.key] = alone

    def shown_again(self, structures: Collection[str]) -> Iterator[Report]:
        """A report for each thing that one of these structures showed, now or earlier."""
        for structure in sorted(self._found.keys() & structures):
            yield from self._found[structure].values()

    def unclear(self, structures: Iterable[str]) -> bool:
        """Whether the looks at one of these structures left something open."""
        return any(self._looks[each].open for each in structures if each in self._looks)

    def is_unseen(self, structure: str) -> bool:
        """Whether no call of a structure could be made again so far."""
        return structure in self._looks and self._looks[structure].ended > UNPROVEN

    def note(self, findings: Iterable[Finding]) -> None:
        """Findings were measured and shown to somebody; what they confirm is not measured again."""
        for each in findings:
            at = each.code, _absolute(each.path), each.line
            if each.evidence.verdict is Verdict.CONFIRMED and each.evidence.lowers_to is None:
                self._confirmed[at] = max(self._confirmed.get(at, each.severity), each.severity)

    def settled(self, at: At, severity: Severity) -> str:
        """Why a finding as bad as that is not measured in a line; empty where it is to be."""
        known = self._confirmed.get(at) if at[1] is not None else None
        return "it is confirmed in another model" if known is not None and known >= severity else ""


def _absolute(path: str | None) -> str | None:
    return path and os.path.abspath(path)


def declared_around(finding: Finding, report: Report, around: Around) -> tuple[CodeSuppression, ...]:
    """What is declared around every call of each structure that showed a finding of a report."""
    declared = [around.get(each.structure, ()) for each in report.origins_of(finding)]
    return tuple(each for each in (declared or [()])[0] if all(each in other for other in declared))
