"""The findings of a watched run, gathered from its pieces: each once, to merge, to send, and to report."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.finding import Finding, Key, NotChecked
from regcheck.core.inspections import Inspection, covered, keep_best, left_open
from regcheck.core.join import better, join
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression
from regcheck.plugins import catalogue
from regcheck.suppression.apply import report_under, shown_path
from regcheck.suppression.decide import Context, decide
from regcheck.suppression.declare import log_used


class Ledger:
    """The findings of the pieces of a run so far. Paths below `root`, if there is one, are relative to it.

    `tests` names the pieces (tests) that showed each finding, `models` the models that it is in, `structures` the
    distinct models that were examined, `inspections` the best inspection of each.
    """

    def __init__(self, options: Options, root: Path | None = None) -> None:
        self._options = options
        self._root = root
        self._findings: dict[Key, Finding] = {}
        self._refuted: dict[Key, Finding] = {}
        self._in_baseline: dict[Key, Finding] = {}
        self._advice: dict[Key, Finding] = {}
        self._missed: dict[NotChecked, None] = {}
        self._subjects: dict[str, None] = {}
        self._devices: dict[str, None] = {}
        self._coverage: dict[Coverage, None] = {}
        self.tests: dict[Key, dict[str, None]] = {}
        self.models: dict[Key, dict[str, None]] = {}
        self.structures: dict[str, None] = {}
        self.inspections: dict[str, Inspection] = {}

    def __bool__(self) -> bool:
        shown = self._findings or self._refuted or self._in_baseline or self._missed or self._coverage
        return bool(shown or self.structures or self.inspections)

    def add(
        self,
        finding: Finding,
        models: Iterable[str] = (),
        test: str = "",
        declared: tuple[CodeSuppression, ...] = (),
        *,
        is_advice: bool = False,
    ) -> None:
        """Add a finding that a test showed in these models, unless a declaration suppresses it.

        Of two findings with one key the confirmed and then the worse one stays. Advice that nobody selects is in no
        report; `has_kind` knows it.
        """
        decision = decide(finding, Context(self._options, declared))
        log_used(decision.by_code)
        if decision.is_suppressed:
            return
        shown = self._at_root(finding)
        if is_advice:
            self._advice[shown.key] = better(self._advice.get(shown.key, shown), shown)
            return
        self._findings[shown.key] = better(self._findings.get(shown.key, shown), shown)
        by_usage = any(rule.code == finding.code and rule.about != "graph" for rule in catalogue())
        self.models.setdefault(shown.key, {}).update(dict.fromkeys([finding.module] if by_usage else models))
        self.tests.setdefault(shown.key, {}).update({test: None} if test else {})

    def discard(self, findings: Iterable[Finding]) -> None:
        """Remove findings; their paths are those of a report on the ledger."""
        for finding in findings:
            self._findings.pop(finding.key, None)

    def add_report(self, report: Report, test: str = "", declared: tuple[CodeSuppression, ...] = ()) -> None:
        """Add a report, but for the findings that a declaration suppresses."""
        for finding in report.findings:
            self.add(finding, report.subjects, test, declared)
        for finding in report.advice:
            self.add(finding, report.subjects, test, declared, is_advice=True)
        self.add_examined(report)

    def add_examined(self, report: Report, *, inspected: bool = False, but: Collection[Key] = ()) -> None:
        """Add all of a report except its findings and advice; `but` are the keys of refuted findings to leave out.

        Of a report that is `inspected`, an inspection says what it looked at and what it leaves open.
        """
        refuted = (each for each in report.refuted if each.key not in but)
        for mine, theirs in ((self._refuted, refuted), (self._in_baseline, report.known)):
            for each in map(self._at_root, theirs):
                mine[each.key] = better(mine.get(each.key, each), each)
        if not inspected:
            self.add_missed(report.not_checked)
            self._coverage.update(dict.fromkeys(report.coverage))
        self._subjects.update(dict.fromkeys(report.subjects))
        self._devices.update(dict.fromkeys(report.devices))

    def add_missed(self, missed: Iterable[NotChecked]) -> None:
        """Add what could not be checked."""
        self._missed.update(dict.fromkeys(replace(each, path=self._shown(each.path)) for each in missed))

    def add_inspection(self, structure: str, inspection: Inspection) -> None:
        """Add an inspection of a structure; the best one stays."""
        still_open = tuple(replace(each, path=self._shown(each.path)) for each in inspection.open)
        keep_best(self.inspections, {structure: replace(inspection, open=still_open)})

    def shows(self, finding: Finding) -> bool:
        """Whether a finding is in the ledger."""
        return self._at_root(finding).key in self._findings

    def has_kind(self, declaration: CodeSuppression) -> bool:
        """Whether a finding, also one that the report does not show, is of the kind that a declaration names."""
        every = (*self._findings.values(), *self._in_baseline.values(), *self._advice.values())
        return any(select.ignores(each.code, (declaration.pattern,), each.name) for each in every)

    def report(self, used: Iterable[CodeSuppression] = (), idle: Iterable[CodeSuppression] = ()) -> Report:
        """Everything as one report; a finding is about each `idle` declaration, those `used` suppressed one."""
        inspections = {structure: self._without_noted(each) for structure, each in self.inspections.items()}
        whole = report_under(
            self._options,
            findings=tuple(self._findings.values()),
            not_checked=(*self._missed, *left_open(inspections)),
            refuted=tuple(self._refuted.values()),
            devices=tuple(self._devices),
            subjects=tuple(self._subjects),
            coverage=(*self._coverage, *covered(inspections)),
            known=tuple(self._in_baseline.values()),
            suppressed_by=tuple(map(self._declared_at_root, used)),
            idle=tuple(map(self._declared_at_root, idle)),
            inspections=inspections,
            models={key: tuple(names) for key, names in self.models.items()},
            tests={key: tuple(names) for key, names in self.tests.items()},
        )
        return join([whole])

    def _without_noted(self, inspection: Inspection) -> Inspection:
        """An inspection without what the ledger holds apart from it, which no other inspection closes."""
        still_open = tuple(each for each in inspection.open if each not in self._missed)
        coverage = tuple(each for each in inspection.coverage if each not in self._coverage)
        return replace(inspection, open=still_open, coverage=coverage)

    def to_dict(self) -> dict[str, Any]:
        """The ledger as JSON values, for another process, without advice."""
        return {
            "findings": [each.to_dict() for each in self._findings.values()],
            "refuted": [each.to_dict() for each in self._refuted.values()],
            "known": [each.to_dict() for each in self._in_baseline.values()],
            "not_checked": [each.to_dict() for each in self._missed],
            "subjects": list(self._subjects),
            "devices": list(self._devices),
            "coverage": [each.to_dict() for each in self._coverage],
            "structures": list(self.structures),
            "inspections": {structure: each.to_dict() for structure, each in self.inspections.items()},
            "tests": [list(self.tests.get(key, ())) for key in self._findings],
            "models": [list(self.models.get(key, ())) for key in self._findings],
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any], options: Options, root: Path | None) -> Ledger:
        """Rebuild a ledger from `to_dict`."""
        ledger = cls(options, root)
        findings = map(Finding.from_dict, document["findings"])
        for finding, tests, models in zip(findings, document["tests"], document["models"], strict=True):
            ledger._findings[finding.key] = finding
            ledger.tests[finding.key] = dict.fromkeys(tests)
            ledger.models[finding.key] = dict.fromkeys(models)
        ledger._refuted = {each.key: each for each in map(Finding.from_dict, document["refuted"])}
        ledger._in_baseline = {each.key: each for each in map(Finding.from_dict, document["known"])}
        ledger._missed = dict.fromkeys(NotChecked(**each) for each in document["not_checked"])
        ledger._subjects = dict.fromkeys(document["subjects"])
        ledger._devices = dict.fromkeys(document["devices"])
        ledger._coverage = dict.fromkeys(map(Coverage.from_dict, document["coverage"]))
        ledger.structures = dict.fromkeys(document["structures"])
        ledger.inspections = {key: Inspection.from_dict(each) for key, each in document["inspections"].items()}
        return ledger

    def merge(self, other: Ledger) -> tuple[Finding, ...]:
        """Add all of another ledger with the same root; return the findings that are new."""
        new = tuple(each for key, each in other._findings.items() if key not in self._findings)
        for mine, theirs in (
            (self._findings, other._findings),
            (self._refuted, other._refuted),
            (self._in_baseline, other._in_baseline),
            (self._advice, other._advice),
        ):
            for key, finding in theirs.items():
                mine[key] = better(mine.get(key, finding), finding)
        for key in other._findings:
            self.tests.setdefault(key, {}).update(other.tests.get(key, {}))
            self.models.setdefault(key, {}).update(other.models.get(key, {}))
        self._missed.update(other._missed)
        self._subjects.update(other._subjects)
        self._devices.update(other._devices)
        self._coverage.update(other._coverage)
        self.structures.update(other.structures)
        keep_best(self.inspections, other.inspections)
        return new

    def _at_root(self, finding: Finding) -> Finding:
        return finding.at(self._shown(finding.path))

    def _declared_at_root(self, declaration: CodeSuppression) -> CodeSuppression:
        return replace(declaration, place=replace(declaration.place, path=self._shown(declaration.place.path) or ""))

    def _shown(self, path: str | None) -> str | None:
        if path is None or self._root is None or path.startswith("<"):
            return path
        return shown_path(os.path.abspath(path), self._root)
